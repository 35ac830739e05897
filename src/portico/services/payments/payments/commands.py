"""Charges: recorded as intended, made by the provider, recorded as done; no transaction is open meanwhile.

A process may die between any two of these. What is left `processing` is settled later, by whoever comes first: a
repeat of the same charge, a void, the provider's webhook, or the job. They all ask the provider by the payment's id.
"""

from functools import partial
from typing import Any

from sqlalchemy import insert

from portico.contracts.payments import PaymentId
from portico.kit.data import UnitOfWork
from portico.kit.data.statements import Prepared
from portico.kit.data.upsert import insert_if_absent
from portico.kit.runtime.context import ServiceRuntime
from portico.services.payments.outcomes.commands import attempt_limit, settle
from portico.services.payments.payments.domain import Charge
from portico.services.payments.payments.errors import PaymentKeyReused, Voided
from portico.services.payments.payments.models import Payment, PaymentKey
from portico.services.payments.payments.repository import Payments

KEYS: Any = PaymentKey.__table__
PAYMENTS: Any = Payment.__table__
_INSERT = Prepared(insert(PAYMENTS))


async def charge(context: ServiceRuntime, key: str, asked: Charge) -> Payment:
    """Charge what is `asked`, once by `key`; a repeat finds out how it stands by then. Raises Voided, PaymentKeyReused."""
    payment_id = PaymentId.new()
    payment = await context.transact(
        partial(_claim, key=key, asked=asked, payment_id=payment_id, within=attempt_limit(context))
    )
    return await settle(context, payment, first=payment.payment_id == payment_id) if payment.is_open else payment


async def _claim(work: UnitOfWork, *, key: str, asked: Charge, payment_id: PaymentId, within: float) -> Payment:
    """The payment of `key`, made where the key is new. Of two at once, the one that comes second waits for the first."""
    if await insert_if_absent(work, KEYS, {"key": key, "payment_id": payment_id, "created_at": work.now}):
        payment = _intended(payment_id, asked, work)
        payment.attempt(work.now, within=within)
        await _INSERT.write(work, {column.key: getattr(payment, column.key) for column in PAYMENTS.columns})
        return payment
    known = await work.get(PaymentKey, key)
    if known is None or known.payment_id is None:
        raise Voided(key=key)
    payment = await Payments(work).get(known.payment_id)
    if not payment.is_of(asked):
        raise PaymentKeyReused(key=key, payment_id=payment.payment_id)
    if payment.voided_at is not None:
        raise Voided(key=key)
    return payment


def _intended(payment_id: PaymentId, asked: Charge, work: UnitOfWork) -> Payment:
    return Payment(
        payment_id=payment_id,
        order_id=asked.order_id,
        user_id=asked.user_id,
        amount_minor=asked.amount.minor,
        currency=asked.amount.currency,
        method=asked.method,
        status="processing",
        refunded_minor=0,
        refunding_minor=0,
        attempts=0,
        created_at=work.now,
        updated_at=work.now,
        revision=1,
    )
