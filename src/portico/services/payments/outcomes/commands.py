"""The provider is asked, and what it says is written down once: state, ledger and event are one transaction."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from sqlalchemy import bindparam, update

from portico.contracts.payments import PaymentFailed, PaymentId, PaymentProcessed
from portico.kit.data import UnitOfWork
from portico.kit.data.statements import Prepared
from portico.kit.runtime.context import ServiceRuntime
from portico.kit.telemetry.logs import get_logger
from portico.services.payments.ledger.commands import post
from portico.services.payments.outcomes.domain import Outcome, Unsaid
from portico.services.payments.payments.models import Payment
from portico.services.payments.payments.repository import Payments
from portico.services.payments.provider.domain import (
    ChargeOrder,
    PaymentProvider,
    ProviderCharge,
    ProviderRefused,
    ProviderUnavailable,
)
from portico.services.payments.refunds.commands import give_back_rest, settle_refund
from portico.services.payments.refunds.models import Refund
from portico.services.payments.refunds.repository import Refunds
from portico.services.payments.settings import PaymentsSettings

logger = get_logger(__name__)

PAYMENTS: Any = Payment.__table__
_SUCCEED = Prepared(
    update(PAYMENTS)
    .where(PAYMENTS.c.payment_id == bindparam("of_payment"), PAYMENTS.c.revision == bindparam("of_revision"))
    .values(
        status="succeeded",
        charge_id=bindparam("new_charge_id"),
        charged_at=bindparam("now"),
        updated_at=bindparam("now"),
        settle_at=None,
        revision=PAYMENTS.c.revision + 1,
    )
)

_MARGIN: Final = 5.0  # seconds between the limit of a charge and the moment from which others take it for over


def attempt_limit(context: ServiceRuntime) -> float:
    """Seconds after which an attempt to charge is over, whoever made it and whatever became of them."""
    return context.settings_of(PaymentsSettings).provider_timeout + _MARGIN


async def settle(context: ServiceRuntime, payment: Payment, *, first: bool = False) -> Payment:
    """Find out what became of `payment`, and write it down.

    The charge is made again, by its own key, where the provider never heard of it; unless it was voided.

    Args:
        context: payments.
        payment: as it was read; nothing else is believed of it than what it asks for.
        first: this is the attempt that was recorded with the payment.
    """
    outcome = await _asked(context, payment, first=first)
    if outcome is Unsaid.IN_FLIGHT:
        return payment
    if first and isinstance(outcome, ProviderCharge) and outcome.status == "succeeded":
        done = await context.transact(partial(_record_untouched, payment=payment, charge=outcome))
        if done is not None:
            return done
    payment = await context.transact(partial(record, payment_id=payment.payment_id, outcome=outcome))
    if payment.voided_at is not None and payment.refunding_minor:
        await settle_refunds(context, payment.payment_id)
    return payment


async def settle_refunds(context: ServiceRuntime, payment_id: PaymentId) -> None:
    """Have the refunds of a payment that are on their way arrive."""

    async def read(work: UnitOfWork) -> Sequence[Refund]:
        return await Refunds(work).open_of(payment_id)  # not by a reader: a replica may not know of them yet

    for refund in await context.transact(read):
        await settle_refund(context, refund)


async def _asked(context: ServiceRuntime, payment: Payment, *, first: bool) -> Outcome:
    provider = context.resource(PaymentProvider)  # type: ignore[type-abstract]  # the key of a resource, never made
    order = ChargeOrder(payment.payment_id, payment.money, payment.method, payment.order_id)
    try:
        async with asyncio.timeout(context.settings_of(PaymentsSettings).provider_timeout):
            if not first:
                found = await provider.find_charge(payment.payment_id)
                if found is not None:
                    return found
                unsaid = await context.transact(partial(_attempt_again, payment_id=payment.payment_id, context=context))
                if unsaid is not None:
                    return unsaid
            return await provider.charge(order)
    except ProviderRefused as refused:
        return refused
    except (ProviderUnavailable, TimeoutError):
        return Unsaid.UNKNOWN


async def _attempt_again(work: UnitOfWork, *, payment_id: PaymentId, context: ServiceRuntime) -> Unsaid | None:
    """Begin another attempt at a charge of which the provider knows nothing; else why not."""
    payment = await Payments(work).get(payment_id, lock=True)
    if payment.settle_at is not None and payment.settle_at > work.now:
        return Unsaid.IN_FLIGHT
    if not payment.is_open or payment.voided_at is not None:
        return Unsaid.NOTHING
    payment.attempt(work.now, within=attempt_limit(context))
    return None


async def record(work: UnitOfWork, *, payment_id: PaymentId, outcome: Outcome) -> Payment:
    """Write down what became of a charge, once. Raises PaymentNotFound.

    A charge that was voided meanwhile is begun to be given back in the same transaction; so is one that turns up
    after its payment was taken for never charged.
    """
    payment = await Payments(work).get(payment_id, lock=True)
    if payment.charged_at is not None or payment.status == "failed":
        _warn_of_contradiction(payment, outcome)
        return payment
    if isinstance(outcome, ProviderRefused):
        _fail(work, payment, outcome.reason, None)
    elif isinstance(outcome, ProviderCharge) and outcome.status == "failed":
        _fail(work, payment, outcome.failure_reason or "refused", outcome.charge_id)
    elif isinstance(outcome, ProviderCharge) and outcome.status == "succeeded":
        await _succeed(work, payment, outcome)
    elif outcome is Unsaid.NOTHING:
        if payment.is_open and payment.voided_at is not None:
            payment.end_uncharged(work.now)
        elif not payment.is_open:
            payment.end_last_look(work.now)
    else:
        payment.await_outcome(work.now)
    return payment


async def _record_untouched(work: UnitOfWork, *, payment: Payment, charge: ProviderCharge) -> Payment | None:
    """Write down the success of a payment that nobody has touched since it was recorded; None where somebody has.

    This is what nearly every charge comes to, and here it costs one statement in place of a lock, a read and a change.
    """
    untouched = {"of_payment": payment.payment_id, "of_revision": payment.revision}
    if not await _SUCCEED.write(work, {**untouched, "new_charge_id": charge.charge_id, "now": work.now}):
        return None
    payment.succeed(charge.charge_id, work.now)
    payment.revision += 1
    await _enter(work, payment)
    return payment


async def _succeed(work: UnitOfWork, payment: Payment, charge: ProviderCharge) -> None:
    payment.succeed(charge.charge_id, work.now)
    await _enter(work, payment)
    if payment.voided_at is not None:
        await give_back_rest(work, payment)


async def _enter(work: UnitOfWork, payment: Payment) -> None:
    """The books have the charge of `payment`, and it is told of."""
    await post(work, "charge", payment.payment_id, payment.payment_id, payment.money)
    work.publish(
        PaymentProcessed(
            payment_id=payment.payment_id,
            order_id=payment.order_id,
            user_id=payment.user_id,
            amount_minor=payment.amount_minor,
            currency=payment.currency,
        )
    )


def _fail(work: UnitOfWork, payment: Payment, reason: str, charge_id: str | None) -> None:
    payment.fail(reason, work.now, charge_id=charge_id)
    work.publish(
        PaymentFailed(
            payment_id=payment.payment_id,
            order_id=payment.order_id,
            user_id=payment.user_id,
            amount_minor=payment.amount_minor,
            currency=payment.currency,
            reason=payment.failure_reason or reason,
        )
    )


def _warn_of_contradiction(payment: Payment, outcome: Outcome) -> None:
    """A provider that says another thing later is a case for people; reconciliation lists it too."""
    said = outcome.status if isinstance(outcome, ProviderCharge) else None
    if said in {"succeeded", "failed"} and (said == "succeeded") != (payment.charged_at is not None):
        logger.error("the provider contradicts itself", payment_id=payment.payment_id, status=payment.status, said=said)
