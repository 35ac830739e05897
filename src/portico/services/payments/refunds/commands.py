"""Refunds: recorded as intended, given back by the provider, recorded as done; no transaction is open meanwhile."""

import asyncio
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Final

from portico.contracts.payments import PaymentId, PaymentRefunded, RefundId
from portico.kit.data import UnitOfWork
from portico.kit.foundation.money import Money
from portico.kit.runtime.context import ServiceRuntime
from portico.services.payments.ledger.commands import post
from portico.services.payments.payments.models import Payment
from portico.services.payments.payments.repository import Payments
from portico.services.payments.provider.domain import (
    PaymentProvider,
    ProviderRefund,
    ProviderRefused,
    ProviderUnavailable,
)
from portico.services.payments.refunds.errors import OtherCurrency, RefundKeyReused
from portico.services.payments.refunds.models import Refund
from portico.services.payments.refunds.repository import Refunds
from portico.services.payments.settings import PaymentsSettings


@dataclass(frozen=True, slots=True)
class RefundOrder:
    """What is to be given back: `amount` of the payment's currency, or all that is left.

    Without a `key` each order is a refund of its own. A `currency` that is said is to be the payment's.
    """

    by: str
    amount: Decimal | None = None
    currency: str | None = None
    key: str | None = None
    reason: str | None = None

    def minor_in(self, currency: str) -> int | None:
        """What is asked for, in minor units; None for all that is left. Raises TooPrecise."""
        return None if self.amount is None else Money.of(self.amount, currency).minor


VOID: Final = "void"
"""Who a refund is by that a void made necessary."""


async def refund_payment(context: ServiceRuntime, payment_id: PaymentId, order: RefundOrder) -> Refund:
    """Give back what `order` says, or tell how the refund by its key stands.

    Raises PaymentNotFound, NotRefundable, RefundExceedsCharge, RefundKeyReused, OtherCurrency, TooPrecise.
    """
    refund = await context.transact(partial(_begin, payment_id=payment_id, order=order))
    return await settle_refund(context, refund) if refund.is_open else refund


async def _begin(work: UnitOfWork, *, payment_id: PaymentId, order: RefundOrder) -> Refund:
    """The payment's row is locked first, so that of two refunds at once each sees what the other left."""
    payment = await Payments(work).get(payment_id, lock=True)
    if order.currency not in {None, payment.currency}:
        raise OtherCurrency(currency=payment.currency)
    known = None if order.key is None else await Refunds(work).by_key(payment_id, order.key)
    if known is not None:
        if not known.is_of(order.minor_in(payment.currency), order.reason):
            raise RefundKeyReused(refund_id=known.refund_id)
        return known
    return begin_refund(work, payment, order)


def begin_refund(work: UnitOfWork, payment: Payment, order: RefundOrder) -> Refund:
    """Record that a refund of `payment`, which is locked, is intended.

    Raises NotRefundable, RefundExceedsCharge, TooPrecise.
    """
    asked = order.minor_in(payment.currency)
    minor = payment.left_minor if asked is None else asked
    payment.reserve_refund(minor, work.now)
    refund_id = RefundId.new()
    refund = Refund(
        refund_id=refund_id,
        payment_id=payment.payment_id,
        charge_id=payment.charge_id or "",
        key=order.key or refund_id,
        amount_minor=minor,
        asked_minor=asked,
        currency=payment.currency,
        reason=order.reason,
        requested_by=order.by,
        status="processing",
        attempts=0,
        settle_at=work.now,
        created_at=work.now,
        updated_at=work.now,
    )
    work.add(refund)
    return refund


async def give_back_rest(work: UnitOfWork, payment: Payment) -> Refund | None:
    """Begin to give back what is left of `payment`, which is locked and was voided; None where nothing is, or not yet.

    What the provider refused rests first, whoever asks: each refund is another row, and another request to it.
    """
    for failed in await Refunds(work).failed_of(payment.payment_id):
        if failed.settle_at is not None and failed.settle_at > work.now:
            return None
        failed.settle_at = None
    return begin_refund(work, payment, RefundOrder(by=VOID)) if payment.left_minor else None


async def follow_up(context: ServiceRuntime, payment_id: PaymentId) -> None:
    """Give back anew what the provider once refused to give back of a payment that was voided."""

    async def begin(work: UnitOfWork) -> Refund | None:
        return await give_back_rest(work, await Payments(work).get(payment_id, lock=True))

    refund = await context.transact(begin)
    if refund is not None:
        await settle_refund(context, refund)


async def settle_refund(context: ServiceRuntime, refund: Refund) -> Refund:
    """Have the provider give back what `refund` says, or say what became of it; and record it.

    Asked again by the same key, the provider answers with the same refund: it may be asked by several at once.
    """
    outcome = await _asked(context, refund)
    return await context.transact(partial(record_refund, refund_id=refund.refund_id, outcome=outcome))


async def _asked(context: ServiceRuntime, refund: Refund) -> ProviderRefund | ProviderRefused | None:
    """What the provider says; None where it does not."""
    provider = context.resource(PaymentProvider)  # type: ignore[type-abstract]  # the key of a resource, never made
    try:
        async with asyncio.timeout(context.settings_of(PaymentsSettings).provider_timeout):
            return await provider.refund(refund.refund_id, refund.charge_id, refund.money)
    except ProviderRefused as refused:
        return refused
    except (ProviderUnavailable, TimeoutError):
        return None


async def record_refund(
    work: UnitOfWork, *, refund_id: RefundId, outcome: ProviderRefund | ProviderRefused | None
) -> Refund:
    """Write down what became of a refund, once: its state, the ledger and the event are one transaction.

    Raises LookupError where there is no such refund.
    """
    refund = await work.get(Refund, refund_id)
    if refund is None:
        raise LookupError(refund_id)
    payment = await Payments(work).get(refund.payment_id, lock=True)
    await work.session.refresh(refund)  # it may have been settled while this waited for the lock
    if not refund.is_open:
        return refund
    if isinstance(outcome, ProviderRefused) or (outcome is not None and outcome.status == "failed"):
        reason = outcome.reason if isinstance(outcome, ProviderRefused) else outcome.failure_reason
        refund.end("failed", work.now, reason=reason or "refused")
        payment.end_refund(refund.amount_minor, work.now, given_back=False)
        if payment.voided_at is not None:
            await _be_followed(work, refund)
    elif outcome is None or outcome.status == "processing":
        refund.await_outcome(work.now)
    else:
        refund.end("succeeded", work.now)
        payment.end_refund(refund.amount_minor, work.now, given_back=True)
        await post(work, "refund", refund.refund_id, payment.payment_id, refund.money)
        work.publish(_refunded(payment, refund))
    return refund


async def _be_followed(work: UnitOfWork, refund: Refund) -> None:
    """Have another begun in place of `refund`, which failed, and of all that failed before it: one rests at a time."""
    earlier = [each for each in await Refunds(work).failed_of(refund.payment_id) if each is not refund]
    for each in earlier:
        each.settle_at = None
    refund.be_followed(len(earlier) + 1, work.now)


def _refunded(payment: Payment, refund: Refund) -> PaymentRefunded:
    return PaymentRefunded(
        payment_id=payment.payment_id,
        refund_id=refund.refund_id,
        order_id=payment.order_id,
        user_id=payment.user_id,
        amount_minor=refund.amount_minor,
        refunded_minor=payment.refunded_minor,
        currency=payment.currency,
    )
