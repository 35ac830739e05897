"""SQL of bookings."""

from sqlalchemy import ColumnElement, true

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
