from collections.abc import Sequence

from portico.contracts.bookings import BookingId, BookingStatus
from portico.kit import Conflict, NotFound


class BookingNotFound(NotFound):
    detail = "Booking {booking_id} not found."

    booking_id: BookingId


class IllegalTransition(Conflict):
    """The booking's status does not allow this change."""

    detail = "A booking in status '{current}' cannot change to '{wanted}'. Allowed next statuses: {allowed}."

    booking_id: BookingId
    current: BookingStatus
    wanted: BookingStatus
    legal: Sequence[BookingStatus]

    def sentence(self) -> str:
        return self.detail.format(allowed=", ".join(self.legal) or "none", **self.data())
