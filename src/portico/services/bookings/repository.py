"""SQL of bookings and of what is known of their shows."""

from collections.abc import Collection
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, delete, func, select, true

from portico.contracts.bookings import BookingId, BookingTotal
from portico.contracts.events import ShowEvent, ShowId
from portico.contracts.seating import HoldId
from portico.kit import Money, Principal, Repository, UnitOfWork
from portico.kit.data import Refuse, insert_or_refuse, newest_first
from portico.kit.foundation import PermissionMissing
from portico.services.bookings.errors import BookingNotFound, EventNotFound
from portico.services.bookings.models import Booking, Show

READ_ALL: Final = "bookings:read"
WRITE_ALL: Final = "bookings:write"
PAYMENT_DECLINED: Final = "payment_declined"

_BOOKINGS: Any = Booking.__table__
_B: Any = _BOOKINGS.c


class Bookings(Repository[Booking]):
    model, not_found, order = Booking, BookingNotFound, newest_first(Booking.booking_id)

    def visible_to(self, caller: Principal) -> ColumnElement[bool]:
        """Return the condition for the bookings that `caller` may see: all with `bookings:read`, otherwise its own."""
        return true() if caller.may(READ_ALL) else Booking.user_id == caller.subject

    async def get_changeable(self, booking_id: BookingId, caller: Principal) -> Booking:
        """Return a booking that `caller` may change, locked: its own, or any booking with `bookings:write`.

        Raises BookingNotFound, and PermissionMissing for a booking that the caller may only read.
        """
        if caller.may(WRITE_ALL):
            return await self.get(booking_id, lock=True)
        booking = await self.get_visible(booking_id, caller, lock=True)
        if booking.user_id != caller.subject:
            raise PermissionMissing(permission=WRITE_ALL)
        return booking

    async def insert(self, work: UnitOfWork, booking: Booking, *, refuse: Refuse) -> None:
        """Insert a new booking, unless another one pays for its hold or has its places: `refuse` returns the problem."""
        booking.revision = 1
        values = {column.key: getattr(booking, column.key) for column in _BOOKINGS.columns}
        await insert_or_refuse(work, _BOOKINGS, values, refuse)

    async def of_hold(self, hold_id: HoldId) -> Booking | None:
        """Return the booking that pays for this hold or has its places."""
        return await self.source.one(select(Booking).where(Booking.live_hold_id == hold_id))

    async def declines(self, hold_id: HoldId) -> int:
        """Return how many bookings with this hold failed because their payment was declined."""
        statement: Select[Any] = select(func.count()).where(
            Booking.hold_id == hold_id, Booking.failure_reason == PAYMENT_DECLINED
        )
        found: int = (await self.source.execute(statement)).scalar_one()
        return found

    async def live_of_show(self, event_id: ShowId, after: BookingId | None, limit: int) -> list[BookingId]:
        """Return the pending and confirmed bookings of a show by id, after this one."""
        statement = (
            select(_B.booking_id)
            .where(_B.event_id == event_id, _B.status.in_(("PENDING", "CONFIRMED")))
            .order_by(_B.booking_id)
            .limit(limit)
        )
        if after is not None:
            statement = statement.where(_B.booking_id > after)
        return [row.booking_id for row in await self.source.rows(statement)]

    async def totals(
        self, booking_ids: Collection[BookingId], after: BookingId | None, limit: int
    ) -> list[BookingTotal]:
        """Return what bookings cost, by id, after this one; only those with these ids if there are any."""
        statement = select(Booking).order_by(Booking.booking_id).limit(limit)
        if booking_ids:
            statement = statement.where(Booking.booking_id.in_(booking_ids))
        if after is not None:
            statement = statement.where(Booking.booking_id > after)
        return [
            BookingTotal(
                booking_id=each.booking_id,
                user_id=each.user_id,
                status=each.booking_status,
                amount=Money(each.paid_minor, each.currency).amount,
                refunded=each.refunded,
                currency=each.currency,
                created_at=each.created_at,
            )
            for each in await self.source.all(statement)
        ]

    async def live_status(self, booking_id: BookingId) -> Any:
        """Return the columns that live followers of a booking see, or None."""
        statement = select(_B.booking_id, _B.status, _B.failure_reason, _B.updated_at, _B.revision)
        found = await self.source.rows(statement.where(_B.booking_id == booking_id).limit(1))
        return found[0] if found else None


class Shows(Repository[Show]):
    model, not_found, order = Show, EventNotFound, newest_first(Show.event_id)

    async def save(self, event: ShowEvent) -> bool:
        """Store the state of a show after an event. Return whether it is now cancelled and was not before."""
        show = await self.find(event.event_id, lock=True)
        if show is not None:
            return show.apply(event)
        self.add(Show.of(event))
        return event.status == "CANCELLED"

    async def delete(self, event_id: ShowId) -> None:
        """Delete what is known of a show."""
        await self.work.execute(delete(Show).where(Show.event_id == event_id))
