"""Settlement: ask the provider for the outcome of a charge or refund, and record it once.

A request, its repeat, a void, a webhook and the job all end here, so none of them needs to know of the others. State,
ledger entries and event are one transaction; no transaction is open while the provider is called.
"""

import asyncio
from collections.abc import Sequence
from enum import Enum
from functools import partial
from typing import Final

from portico.contracts.payments import PaymentId, RefundId
from portico.kit import Money, ServiceContext, UnitOfWork, get_logger
from portico.kit.foundation import latest_due, seconds_until
from portico.services.payments import events
from portico.services.payments.charges import ChargeWriter, posting_of
from portico.services.payments.domain import MAX_REFUND_WAIT, RefundRequest
from portico.services.payments.ledger.repository import Posting, post
from portico.services.payments.models import MAX_PAYMENT_WAIT, Payment, Refund
from portico.services.payments.provider import (
    ChargeRequest,
    ProviderCharge,
    ProviderRefund,
    ProviderRefused,
    ProviderUnavailable,
    provider_of,
)
from portico.services.payments.repository import Payments, Refunds
from portico.services.payments.settings import PaymentsSettings

logger = get_logger(__name__)

_VOID: Final = "void"
"""`requested_by` of the refunds that a void makes necessary."""
_ATTEMPT_MARGIN: Final = 5.0  # seconds between the provider's time-out and the moment the attempt counts as over


class NoOutcome(Enum):
    """Why the outcome of a charge is unknown."""

    UNKNOWN = "the provider did not answer, or has not decided: ask again"
    NO_CHARGE = "the provider has no such charge"
    IN_FLIGHT = "the provider has no such charge, but a request may be on its way"


ChargeOutcome = ProviderCharge | ProviderRefused | NoOutcome


def attempt_limit(context: ServiceContext) -> float:
    """Return the time in seconds after which an attempt to charge is over, even if its process died."""
    return context.settings_of(PaymentsSettings).provider_timeout + _ATTEMPT_MARGIN


async def settle_payment(context: ServiceContext, payment: Payment, *, first_attempt: bool = False) -> Payment:
    """Get the outcome of a charge from the provider and record it.

    If the provider does not know the charge, it is made again with its own key, unless it was voided.

    Args:
        context: the service.
        payment: as it was read; its state may have changed since.
        first_attempt: whether this is the attempt that was recorded with the payment.
    """
    outcome = await _charge_outcome(context, payment, first_attempt=first_attempt)
    if outcome is NoOutcome.IN_FLIGHT:
        return payment
    if first_attempt and isinstance(outcome, ProviderCharge) and outcome.status == "succeeded":
        is_expected = outcome.amount == payment.money
        if is_expected and await context.resource(ChargeWriter).record_success(payment, outcome):
            return payment
    payment = await context.transact(partial(record_charge, payment_id=payment.payment_id, outcome=outcome))
    if payment.voided_at is not None and payment.refunding_minor:
        await settle_refunds(context, payment.payment_id)
    return payment


async def _charge_outcome(context: ServiceContext, payment: Payment, *, first_attempt: bool) -> ChargeOutcome:
    provider = provider_of(context)
    request = ChargeRequest(payment.payment_id, payment.money, payment.method, payment.reference)
    try:
        async with asyncio.timeout(context.settings_of(PaymentsSettings).provider_timeout):
            if not first_attempt:
                found = await provider.find_charge(payment.payment_id)
                if found is not None:
                    return found
                limit = attempt_limit(context)
                blocked = await context.transact(partial(_start_attempt, payment_id=payment.payment_id, limit=limit))
                if blocked is not None:
                    return blocked
            return await provider.charge(request)
    except ProviderRefused as refused:
        return refused
    except (ProviderUnavailable, TimeoutError):
        return NoOutcome.UNKNOWN


async def _start_attempt(work: UnitOfWork, *, payment_id: PaymentId, limit: float) -> NoOutcome | None:
    """Start another attempt at a charge that the provider does not know, or return why that is not allowed."""
    payment = await Payments(work).get(payment_id, lock=True)
    if payment.settle_at is not None and payment.settle_at > work.now:
        if payment.settle_at > latest_due(work.now, MAX_PAYMENT_WAIT):
            payment.start_attempt(work.now, limit=limit)  # the clock was set back; an attempt may still be under way
        return NoOutcome.IN_FLIGHT
    if not payment.is_processing or payment.voided_at is not None:
        return NoOutcome.NO_CHARGE
    payment.start_attempt(work.now, limit=limit)
    return None


async def record_charge(work: UnitOfWork, *, payment_id: PaymentId, outcome: ChargeOutcome) -> Payment:
    """Record the outcome of a charge, once. Raises PaymentNotFound.

    A charge that was voided meanwhile is refunded: the refund starts in the same transaction. The same holds for a
    charge that is found after its payment was closed without one.
    """
    payment = await Payments(work).get(payment_id, lock=True)
    other_amount = _reported_other_amount(payment, outcome)
    if payment.charged_at is not None or payment.status == "failed":
        _log_contradiction(payment, outcome)
        return payment
    if other_amount is not None:
        payment.reported = other_amount
        payment.postpone_settlement(work.now)
    elif isinstance(outcome, ProviderRefused):
        _record_failure(work, payment, outcome.reason, None)
    elif isinstance(outcome, ProviderCharge) and outcome.status == "failed":
        _record_failure(work, payment, outcome.failure_reason or "refused", outcome.charge_id)
    elif isinstance(outcome, ProviderCharge) and outcome.status == "succeeded":
        payment.succeed(outcome.charge_id, work.now)
        await post(work, posting_of(payment))
        work.publish(events.processed(payment))
        if payment.voided_at is not None:
            await refund_remainder(work, payment)
    elif outcome is NoOutcome.NO_CHARGE:
        if payment.is_processing and payment.voided_at is not None:
            payment.close_without_charge(work.now)
        elif not payment.is_processing:
            payment.finish_final_check(work.now)
    else:
        payment.postpone_settlement(work.now)
    return payment


def _record_failure(work: UnitOfWork, payment: Payment, reason: str, charge_id: str | None) -> None:
    payment.fail(reason, work.now, charge_id=charge_id)
    work.publish(events.failed(payment, payment.failure_reason or reason))


def _reported_other_amount(row: Payment | Refund, outcome: ChargeOutcome | ProviderRefund | None) -> Money | None:
    """Return the amount that the provider reports, if it is not the one that was requested, and log an error.

    That report is not believed, whatever its status: nothing says that it is about this charge or refund.
    """
    if not isinstance(outcome, ProviderCharge | ProviderRefund) or outcome.amount == row.money:
        return None
    logger.error(
        "payment_amount_contradicted",
        payment_id=row.payment_id,
        refund_id=row.refund_id if isinstance(row, Refund) else None,
        status=row.status,
        reported_status=outcome.status,
        expected_minor=row.amount_minor,
        expected_currency=row.currency,
        reported_minor=outcome.amount.minor,
        reported_currency=outcome.amount.currency,
    )
    return outcome.amount


def _log_contradiction(payment: Payment, outcome: ChargeOutcome) -> None:
    """Log a provider that reports another outcome than before. An operator must decide; reconciliation lists it too."""
    reported = outcome.status if isinstance(outcome, ProviderCharge) else None
    if reported in {"succeeded", "failed"} and (reported == "succeeded") != (payment.charged_at is not None):
        logger.error(
            "payment_outcome_contradicted", payment_id=payment.payment_id, status=payment.status, reported=reported
        )


async def settle_refund(context: ServiceContext, refund: Refund) -> Refund:
    """Ask the provider to make a refund and record the outcome.

    Several processes may do so at once: with the same key the provider returns the same refund.
    """
    outcome = await _refund_outcome(context, refund)
    return await context.transact(partial(record_refund, refund_id=refund.refund_id, outcome=outcome))


async def settle_refunds(context: ServiceContext, payment_id: PaymentId) -> None:
    """Settle the refunds of a payment whose outcome is unknown."""

    async def processing(work: UnitOfWork) -> Sequence[Refund]:
        return await Refunds(work).processing(payment_id)  # on the writer: a replica may not have them yet

    for refund in await context.transact(processing):
        await settle_refund(context, refund)


async def replace_failed_refund(context: ServiceContext, payment_id: PaymentId) -> None:
    """Start and settle another refund of a voided payment whose previous refund failed."""

    async def start(work: UnitOfWork) -> Refund | None:
        return await refund_remainder(work, await Payments(work).get(payment_id, lock=True))

    refund = await context.transact(start)
    if refund is not None:
        await settle_refund(context, refund)


async def _refund_outcome(context: ServiceContext, refund: Refund) -> ProviderRefund | ProviderRefused | None:
    """Return the provider's answer, or None if the outcome is unknown."""
    try:
        async with asyncio.timeout(context.settings_of(PaymentsSettings).provider_timeout):
            return await provider_of(context).refund(refund.refund_id, refund.charge_id, refund.money)
    except ProviderRefused as refused:
        return refused
    except (ProviderUnavailable, TimeoutError):
        return None


async def refund_remainder(work: UnitOfWork, payment: Payment) -> Refund | None:
    """Start a refund of what is left of a voided payment; return None if nothing is left, or if it is too early.

    The payment must be locked. Each retry is another row and another request to the provider, so failed refunds are
    retried with increasing delays, regardless of how often a caller asks.
    """
    for failed in await Refunds(work).failed(payment.payment_id):
        if failed.settle_at is not None and seconds_until(failed.settle_at, work.now, max_wait=MAX_REFUND_WAIT) > 0:
            return None
        failed.settle_at = None
    if not payment.refundable_minor:
        return None
    refund = payment.start_refund(RefundRequest(requested_by=_VOID), work.now)
    work.add(refund)
    return refund


async def record_refund(
    work: UnitOfWork, *, refund_id: RefundId, outcome: ProviderRefund | ProviderRefused | None
) -> Refund:
    """Record the outcome of a refund, once. Raises LookupError if there is no such refund."""
    refund = await work.get(Refund, refund_id)
    if refund is None:
        raise LookupError(refund_id)
    payment = await Payments(work).get(refund.payment_id, lock=True)
    await work.session.refresh(refund)  # another transaction may have settled it before this one got the lock
    other_amount = _reported_other_amount(refund, outcome)
    if not refund.is_processing:
        return refund
    if other_amount is not None:
        refund.reported = other_amount
        refund.postpone_settlement(work.now)
    elif isinstance(outcome, ProviderRefused) or (outcome is not None and outcome.status == "failed"):
        reason = outcome.reason if isinstance(outcome, ProviderRefused) else outcome.failure_reason
        refund.finish("failed", work.now, reason=reason or "refused")
        payment.finish_refund(refund.amount_minor, work.now, succeeded=False)
        if payment.voided_at is not None:
            await _schedule_replacement(work, refund)
    elif outcome is None or outcome.status == "processing":
        refund.postpone_settlement(work.now)
    else:
        refund.finish("succeeded", work.now)
        payment.finish_refund(refund.amount_minor, work.now, succeeded=True)
        await post(work, Posting("refund", refund.refund_id, payment.payment_id, refund.money))
        work.publish(events.refunded(payment, refund))
    return refund


async def _schedule_replacement(work: UnitOfWork, refund: Refund) -> None:
    """Schedule one replacement for this failed refund and for all that failed before it."""
    earlier = [each for each in await Refunds(work).failed(refund.payment_id) if each is not refund]
    for each in earlier:
        each.settle_at = None
    refund.schedule_replacement(len(earlier) + 1, work.now)
