"""Use cases: charge, void, refund, receive a webhook.

Each calls the provider between two transactions: the first commits the intent, the second records the outcome. A
process may die in between. The payment or refund then stays `processing` and is settled by the next of these: a repeat of
the request, a void, the provider's webhook, or the job.
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal

from portico.contracts.payments import PaymentId, RefundId
from portico.kit import ServiceContext, UnitOfWork, get_logger
from portico.services.payments.charges import ChargeWriter, PaymentStart
from portico.services.payments.domain import PaymentRequest, RefundRequest
from portico.services.payments.errors import (
    ChargeInFlight,
    OtherCurrency,
    RefundKeyReused,
    VoidUnfinished,
)
from portico.services.payments.models import Payment, PaymentKey, Refund
from portico.services.payments.provider import ProviderEvent
from portico.services.payments.repository import (
    Payments,
    Refunds,
    claim_keys,
    record_webhook_event,
)
from portico.services.payments.settlement import (
    attempt_limit,
    record_charge,
    record_refund,
    refund_remainder,
    settle_payment,
    settle_refund,
    settle_refunds,
)

logger = get_logger(__name__)

WebhookOutcome = Literal["handled", "repeated", "ignored"]


@dataclass(frozen=True, slots=True)
class VoidedKey:
    """A voided idempotency key, and the payment that had used it."""

    key: str
    payment: Payment | None


async def charge(context: ServiceContext, key: str, request: PaymentRequest) -> Payment:
    """Charge once per `key`; a repeat returns the payment's current state. Raises Voided, PaymentKeyReused."""
    start = PaymentStart(key, PaymentId.new(), request, attempt_limit(context))
    payment = await context.resource(ChargeWriter).start(start)
    if not payment.is_processing:
        return payment
    return await settle_payment(context, payment, first_attempt=payment.payment_id == start.payment_id)


async def void(context: ServiceContext, key: str) -> VoidedKey:
    """Cancel the charge of `key`, whether it was made, is in progress or has not been requested yet.

    An unused key becomes a tombstone that rejects a late charge. The void is recorded even if this raises: a charge that
    turns out to have succeeded is then refunded as soon as that is known.

    Raises ChargeInFlight, VoidUnfinished.
    """
    payment = await context.transact(partial(_void_key, key=key))
    if payment is None:
        return VoidedKey(key, None)
    if payment.is_processing:
        payment = await settle_payment(context, payment)
    if payment.is_processing:
        raise ChargeInFlight(payment_id=payment.payment_id)
    await settle_refunds(context, payment.payment_id)
    return VoidedKey(key, await context.transact(partial(_check_refunded, payment_id=payment.payment_id)))


async def _void_key(work: UnitOfWork, *, key: str) -> Payment | None:
    """Void the key and return the payment that had used it."""
    if (await claim_keys(work, [(key, None)]))[0]:
        return None
    known = await work.get(PaymentKey, key)
    if known is None or known.payment_id is None:
        return None
    payment = await Payments(work).get(known.payment_id, lock=True)
    payment.void(work.now)
    await refund_remainder(work, payment)
    return payment


async def _check_refunded(work: UnitOfWork, *, payment_id: PaymentId) -> Payment:
    """Return the payment if its whole charge is refunded or being refunded. Raises VoidUnfinished."""
    payment = await Payments(work).get(payment_id)
    if payment.refundable_minor:
        refund = await Refunds(work).latest(payment_id)
        reason = refund.failure_reason if refund is not None else None
        raise VoidUnfinished(payment_id=payment_id, reason=reason or "refused")
    return payment


async def refund(context: ServiceContext, payment_id: PaymentId, request: RefundRequest) -> Refund:
    """Refund a payment in part or in full, or return the current state of the refund with the same key.

    Raises PaymentNotFound, NotRefundable, RefundExceedsCharge, RefundKeyReused, OtherCurrency, TooPrecise.
    """
    started = await context.transact(partial(_start_refund, payment_id=payment_id, request=request))
    return await settle_refund(context, started) if started.is_processing else started


async def _start_refund(work: UnitOfWork, *, payment_id: PaymentId, request: RefundRequest) -> Refund:
    """Lock the payment, so that concurrent refunds see what is left of it, and start the refund."""
    payment = await Payments(work).get(payment_id, lock=True)
    if request.currency not in {None, payment.currency}:
        raise OtherCurrency(currency=payment.currency)
    known = None if request.key is None else await Refunds(work).by_key(payment_id, request.key)
    if known is None:
        started = payment.start_refund(request, work.now)
        work.add(started)
        return started
    if not known.matches(request):
        raise RefundKeyReused(refund_id=known.refund_id)
    return known


async def receive_webhook(context: ServiceContext, provider: str, event: ProviderEvent | None) -> WebhookOutcome:
    """Record what a webhook reports, once per event id; the effect and the id are one transaction.

    `event` is None if the webhook could not be read. It is ignored: the provider would repeat it without end.
    """
    if event is None:
        logger.warning("webhook_unreadable", provider=provider)
        return "ignored"
    outcome = await context.transact(partial(_handle_event, provider=provider, event=event))
    if outcome == "handled" and event.charge is not None:
        await settle_refunds(context, PaymentId(event.charge.key))  # a void may have come before this outcome
    return outcome


async def _handle_event(work: UnitOfWork, *, provider: str, event: ProviderEvent) -> WebhookOutcome:
    if not await record_webhook_event(work, provider, event.event_id, event.type):
        return "repeated"
    if event.charge is not None and await Payments(work).exists(event.charge.key):
        await record_charge(work, payment_id=PaymentId(event.charge.key), outcome=event.charge)
        return "handled"
    if event.refund is not None and await Refunds(work).exists(event.refund.key):
        await record_refund(work, refund_id=RefundId(event.refund.key), outcome=event.refund)
        return "handled"
    return "ignored"
