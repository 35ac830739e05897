from collections.abc import Collection, Iterable, Sequence

from sqlalchemy import case, func, select

from portico.contracts.orders import OrderId
from portico.contracts.payments import PaymentId
from portico.kit.data import Reader
from portico.services.payments.payments.models import Payment
from portico.services.payments.reconciliation.domain import Kept


async def payments_after(reader: Reader, after: str | None, *, limit: int) -> Sequence[Payment]:
    """Payments in the order of their ids, after the one called `after`."""
    statement = select(Payment).order_by(Payment.payment_id).limit(limit)
    if after is not None:
        statement = statement.where(Payment.payment_id > after)
    return await reader.all(statement)


async def payments_called(reader: Reader, payment_ids: Collection[str]) -> dict[str, Payment]:
    """Those of these payments that there are, by id."""
    found = await reader.all(select(Payment).where(Payment.payment_id.in_(payment_ids)))
    return {payment.payment_id: payment for payment in found}


async def known_payments(reader: Reader, payment_ids: Iterable[PaymentId]) -> set[PaymentId]:
    """The ids among these that are those of payments."""
    return set(await reader.all(select(Payment.payment_id).where(Payment.payment_id.in_(list(payment_ids)))))


async def kept_for(reader: Reader, order_ids: Iterable[OrderId]) -> dict[OrderId, Kept]:
    """What the payments of each of these orders have brought so far."""
    is_charged = Payment.charged_at.is_not(None)
    brought = func.sum(case((is_charged, Payment.amount_minor - Payment.refunded_minor), else_=0))
    given_back = func.sum(case((Payment.status == "succeeded", Payment.refunded_minor), else_=0))
    moving = func.sum(case((Payment.status == "processing", 1), (Payment.refunding_minor > 0, 1), else_=0))
    statement = (
        select(
            Payment.order_id,
            Payment.currency,
            brought.label("minor"),
            given_back.label("given_back"),
            moving.label("moving"),
        )
        .where(Payment.order_id.in_(list(order_ids)))
        .group_by(Payment.order_id, Payment.currency)
    )
    kept: dict[OrderId, Kept] = {}
    for row in (await reader.execute(statement)).all():
        known = kept.get(row.order_id, Kept({}, {}))
        minor = {**known.minor, row.currency: int(row.minor)}
        refunded = {**known.given_back, row.currency: int(row.given_back)}
        kept[row.order_id] = Kept(minor, refunded, moving=known.moving or bool(row.moving))
    return kept
