from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, bindparam, delete, select, true, update

from portico.contracts.bookings import BookingId
from portico.contracts.payments import PaymentId
from portico.kit import Principal, Reader, Repository, Slice, UnitOfWork, Window
from portico.kit.data import Statement, insert_all_if_absent, insert_if_absent, newest_first
from portico.kit.foundation import latest_due
from portico.services.payments.domain import MAX_REFUND_WAIT
from portico.services.payments.errors import PaymentNotFound
from portico.services.payments.models import MAX_PAYMENT_WAIT, Payment, PaymentKey, Refund, WebhookEvent

READ_PERMISSION: Final = "payments:read"
_MAX_PER_BOOKING: Final = 100

_KEYS: Any = PaymentKey.__table__
_PAYMENTS: Any = Payment.__table__
_WEBHOOK_EVENTS: Any = WebhookEvent.__table__
_NEWEST_REFUND = newest_first(Refund.refund_id)
_RECORD_SUCCESS = Statement(
    update(_PAYMENTS)
    .where(_PAYMENTS.c.payment_id == bindparam("of_payment"), _PAYMENTS.c.revision == bindparam("of_revision"))
    .values(
        status="succeeded",
        charge_id=bindparam("new_charge_id"),
        charged_at=bindparam("now"),
        updated_at=bindparam("now"),
        settle_at=None,
        revision=_PAYMENTS.c.revision + 1,
    )
)


class Payments(Repository[Payment]):
    model, not_found, order = Payment, PaymentNotFound, newest_first(Payment.payment_id)

    def visible_to(self, caller: Principal) -> ColumnElement[bool]:
        """Return the condition for the payments that `caller` may read."""
        if caller.kind == "service" or caller.may(READ_PERMISSION):
            return true()
        return Payment.user_id == caller.user_id

    async def exists(self, payment_id: str) -> bool:
        """Return whether the payment exists. The row is not loaded, so that it can be read later under its lock."""
        found = await self.source.one(select(Payment.payment_id).where(Payment.payment_id == payment_id))
        return found is not None

    async def due(self, now: datetime, *, limit: int) -> Sequence[Payment]:
        """Return the payments whose settlement is due, most overdue first."""
        is_due = (Payment.settle_at <= now) | (Payment.settle_at > latest_due(now, MAX_PAYMENT_WAIT))
        statement = select(Payment).where(is_due).order_by(Payment.settle_at).limit(limit)
        return await self.source.all(statement)

    async def after(self, payment_id: str | None, *, limit: int) -> Sequence[Payment]:
        """Return payments by id, after `payment_id`."""
        statement = select(Payment).order_by(Payment.payment_id).limit(limit)
        if payment_id is not None:
            statement = statement.where(Payment.payment_id > payment_id)
        return await self.source.all(statement)

    async def of_booking(self, booking_id: BookingId) -> Sequence[Payment]:
        """Return the payments of a booking, newest first, at most a hundred."""
        statement = select(Payment).where(Payment.booking_id == booking_id).order_by(Payment.payment_id.desc())
        return await self.source.all(statement.limit(_MAX_PER_BOOKING))

    async def by_id(self, payment_ids: Collection[str]) -> dict[str, Payment]:
        """Return the payments with these ids, by id."""
        found = await self.source.all(select(Payment).where(Payment.payment_id.in_(payment_ids)))
        return {payment.payment_id: payment for payment in found}

    async def existing_ids(self, payment_ids: Iterable[PaymentId]) -> set[PaymentId]:
        """Return the ids that belong to a payment."""
        return set(await self.source.all(select(Payment.payment_id).where(Payment.payment_id.in_(list(payment_ids)))))


class Refunds:
    """Reads the refunds of payments."""

    def __init__(self, source: Reader) -> None:
        self.source = source

    async def by_key(self, payment_id: PaymentId, key: str) -> Refund | None:
        """Return the refund of a payment with this idempotency key."""
        return await self.source.one(select(Refund).where(Refund.payment_id == payment_id, Refund.key == key))

    async def exists(self, refund_id: str) -> bool:
        """Return whether the refund exists. The row is not loaded, so that it can be read later under its lock."""
        return await self.source.one(select(Refund.refund_id).where(Refund.refund_id == refund_id)) is not None

    async def processing(self, payment_id: PaymentId) -> Sequence[Refund]:
        """Return the refunds of a payment whose outcome is unknown."""
        return await self.source.all(
            select(Refund).where(Refund.payment_id == payment_id, Refund.status == "processing")
        )

    async def failed(self, payment_id: PaymentId) -> Sequence[Refund]:
        """Return the refunds of a payment that failed."""
        return await self.source.all(select(Refund).where(Refund.payment_id == payment_id, Refund.status == "failed"))

    async def misreported(self, payment_ids: Iterable[PaymentId]) -> Sequence[Refund]:
        """Return the refunds of these payments for which the provider reports another amount."""
        return await self.source.all(
            select(Refund).where(Refund.payment_id.in_(list(payment_ids)), Refund.reported_minor.is_not(None))
        )

    async def latest(self, payment_id: PaymentId) -> Refund | None:
        """Return the most recent refund of a payment."""
        statement = select(Refund).where(Refund.payment_id == payment_id).order_by(Refund.refund_id.desc()).limit(1)
        return await self.source.one(statement)

    async def due(self, now: datetime, *, limit: int) -> Sequence[Refund]:
        """Return the refunds whose settlement or replacement is due, most overdue first."""
        is_due = (Refund.settle_at <= now) | (Refund.settle_at > latest_due(now, MAX_REFUND_WAIT))
        statement = select(Refund).where(is_due).order_by(Refund.settle_at).limit(limit)
        return await self.source.all(statement)

    async def page(self, payment_id: PaymentId, window: Window) -> Slice[Refund]:
        """Return the refunds of a payment, newest first."""
        return await _NEWEST_REFUND.page(self.source, select(Refund).where(Refund.payment_id == payment_id), window)


async def claim_keys(work: UnitOfWork, keys: Sequence[tuple[str, PaymentId | None]]) -> Sequence[bool]:
    """Store each key with its payment, or without one if it is voided. Return whether each key was new."""
    rows = [{"key": key, "payment_id": payment_id, "created_at": work.now} for key, payment_id in keys]
    return await insert_all_if_absent(work, _KEYS, rows)


async def record_successes(work: UnitOfWork, charges: Sequence[tuple[Payment, str]]) -> Sequence[bool]:
    """Record that payments succeeded, each with the id of its charge. Return whether each was unchanged since it was read.

    Nearly every charge ends here. One statement for many payments replaces a lock, a read and an update for each.
    """
    rows = [
        {
            "of_payment": payment.payment_id,
            "of_revision": payment.revision,
            "new_charge_id": charge_id,
            "now": work.now,
        }
        for payment, charge_id in charges
    ]
    return await work.write_all(_RECORD_SUCCESS, rows)


async def record_webhook_event(work: UnitOfWork, provider: str, event_id: str, event_type: str) -> bool:
    """Record that a webhook event is handled; return False if it was handled before."""
    row = {"provider": provider, "event_id": event_id, "type": event_type, "received_at": work.now}
    return await insert_if_absent(work, _WEBHOOK_EVENTS, row)


async def delete_webhook_events(work: UnitOfWork, *, before: datetime) -> None:
    """Delete the webhook events received before this time."""
    await work.execute(delete(WebhookEvent).where(WebhookEvent.received_at < before))
