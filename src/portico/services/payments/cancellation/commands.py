from dataclasses import dataclass
from functools import partial

from portico.contracts.payments import PaymentId
from portico.kit.data import UnitOfWork
from portico.kit.data.upsert import insert_if_absent
from portico.kit.runtime.context import ServiceRuntime
from portico.services.payments.outcomes.commands import settle, settle_refunds
from portico.services.payments.payments.commands import KEYS
from portico.services.payments.payments.errors import ChargeInFlight, VoidUnfinished
from portico.services.payments.payments.models import Payment, PaymentKey
from portico.services.payments.payments.repository import Payments
from portico.services.payments.refunds.commands import give_back_rest
from portico.services.payments.refunds.repository import Refunds


@dataclass(frozen=True, slots=True)
class Void:
    """A key by which nothing is charged, and the payment that it had been used for."""

    key: str
    payment: Payment | None


async def void(context: ServiceRuntime, key: str) -> Void:
    """See to it that nothing is or stays charged by `key`.

    A key that was not used yet is taken for good: that is the tombstone which a late charge runs into. Of a charge whose
    outcome is open the provider is asked first. The void stays, also where this raises: whoever learns of the charge's
    success later gives it back.

    Raises ChargeInFlight, VoidUnfinished.
    """
    payment = await context.transact(partial(_take, key=key))
    if payment is None:
        return Void(key, None)
    if payment.is_open:
        payment = await settle(context, payment)
    if payment.is_open:
        raise ChargeInFlight(payment_id=payment.payment_id)
    await settle_refunds(context, payment.payment_id)
    return Void(key, await context.transact(partial(_given_back, payment_id=payment.payment_id)))


async def _take(work: UnitOfWork, *, key: str) -> Payment | None:
    """Void the key; the payment that it was used for."""
    if await insert_if_absent(work, KEYS, {"key": key, "payment_id": None, "created_at": work.now}):
        return None
    known = await work.get(PaymentKey, key)
    if known is None or known.payment_id is None:
        return None
    payment = await Payments(work).get(known.payment_id, lock=True)
    payment.void(work.now)
    await give_back_rest(work, payment)
    return payment


async def _given_back(work: UnitOfWork, *, payment_id: PaymentId) -> Payment:
    """The payment, all of which was given back or is on its way. Raises VoidUnfinished."""
    payment = await Payments(work).get(payment_id)
    if payment.left_minor:
        refund = await Refunds(work).latest_of(payment_id)
        reason = refund.failure_reason if refund is not None else None
        raise VoidUnfinished(payment_id=payment_id, reason=reason or "refused")
    return payment
