"""SQL of bookings."""

from collections.abc import Collection, Sequence

from sqlalchemy import ColumnElement, select, true

from portico.contracts.bookings import BookingId
from portico.kit import Principal, Repository
from portico.kit.data import newest_first
from portico.services.bookings.errors import BookingNotFound
from portico.services.bookings.models import Booking

READ_ALL = "bookings:read"
WRITE_ALL = "bookings:write"


class Bookings(Repository[Booking]):
    model, not_found, order = Booking, BookingNotFound, newest_first(Booking.booking_id)

    def visible_to(self, caller: Principal) -> ColumnElement[bool]:
        """Return the condition for the bookings that `caller` may see: all with `bookings:read`, otherwise its own."""
        return true() if caller.may(READ_ALL) else Booking.user_id == caller.subject

    async def totals(
        self, booking_ids: Collection[BookingId], after: BookingId | None, limit: int
    ) -> Sequence[Booking]:
        """Return bookings by id, after this one; only those with these ids if there are any."""
        statement = select(Booking).order_by(Booking.booking_id).limit(limit)
        if booking_ids:
            statement = statement.where(Booking.booking_id.in_(booking_ids))
        if after is not None:
            statement = statement.where(Booking.booking_id > after)
        return await self.source.all(statement)
