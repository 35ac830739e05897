from collections.abc import Sequence
from datetime import datetime

from portico.contracts.bookings import BookingId, BookingStatus
from portico.contracts.events import ShowId
from portico.contracts.seating import HoldId
from portico.kit import Conflict, Forbidden, NotFound, Unavailable, Unprocessable


class BookingNotFound(NotFound):
    detail = "Booking {booking_id} not found."

    booking_id: BookingId


class EventNotFound(NotFound):
    detail = "Event {event_id} not found."

    event_id: ShowId


class IllegalTransition(Conflict):
    """The booking's status does not allow this change."""

    detail = "A booking in status '{current}' cannot change to '{wanted}'. Allowed next statuses: {allowed}."

    booking_id: BookingId
    current: BookingStatus
    wanted: BookingStatus
    legal: Sequence[BookingStatus]

    def sentence(self) -> str:
        return self.detail.format(allowed=", ".join(self.legal) or "none", **self.data())


class PriceChanged(Conflict):
    """The places cost another amount than the one in the request."""

    detail = "The places cost {actual} {currency}. Retry with this amount, or omit the amount."

    actual: float
    currency: str


class PaymentMethodMissing(Unprocessable):
    detail = "`payment_method` is required."
    location = ("body", "payment_method")


class CancellationClosed(Conflict):
    detail = "This booking could be cancelled until {closed_at:%Y-%m-%d %H:%M} UTC."

    booking_id: BookingId
    closed_at: datetime


class ShowUnknown(Unavailable):
    """The event about the show was not delivered yet."""

    detail = "The show of this booking is not known here yet. Retry in {retry_after:.0f} seconds."


# The refusals of seating, as its own API has them.


class HoldNotFound(NotFound):
    detail = "Hold {hold_id} not found."

    hold_id: HoldId


class HoldExpired(Conflict):
    detail = "Hold {hold_id} has ended. Take a new one."

    hold_id: HoldId


class HoldInUse(Conflict):
    detail = "Hold {hold_id} is being paid. Retry when that booking has an outcome."

    hold_id: HoldId


class HoldUsed(Conflict):
    detail = "Hold {hold_id} was sold to booking {booking_id}."

    hold_id: HoldId
    booking_id: BookingId


class EventCancelled(Conflict):
    detail = "The show {event_id} is cancelled."

    event_id: ShowId


class SaleClosed(Conflict):
    detail = "The sale is not open."

    event_status: str
    opens_at: str | None
    closes_at: str | None


class SoldOut(Conflict):
    detail = "The show is sold out. Join its waiting list."

    event_id: ShowId


class _AboutSeats(Conflict):
    seats: Sequence[str]

    def sentence(self) -> str:
        return self.detail.format(**{**self.data(), "seats": ", ".join(self.seats or ())})


class SeatTaken(_AboutSeats):
    detail = "Seats that are not free: {seats}. Choose other seats."


class AccessibleOnly(_AboutSeats):
    """Accessible seats are reserved for holds that ask for one."""

    detail = "Accessible seats: {seats}. Take a hold with `accessible`, or choose other seats."


class LeavesSingleSeat(_AboutSeats):
    detail = "This choice leaves single free seats: {seats}. Choose other seats in this row."


class NoAdjacentSeats(Conflict):
    detail = "The largest block of free seats side by side has {largest_block}. Book fewer."

    largest_block: int


class NotEnoughSeats(Conflict):
    detail = "{requested} places are requested, {available} are available."

    requested: int
    available: int


class SeatLimitReached(Conflict):
    detail = "A user may have {limit} places of this show. Held: {held}, booked: {booked}."

    limit: int
    held: int
    booked: int


class UnknownSeat(Unprocessable):
    detail = "Unknown seats: {listed}. A seat is named by section, row and number, such as 1-A-12."
    location = ("body", "seats")

    seats: Sequence[str]

    def sentence(self) -> str:
        return self.detail.format(listed=", ".join(self.seats or ()))


class UnknownSection(Unprocessable):
    detail = "The show has no section '{section}'."
    location = ("body", "section")

    section: str


class CodeUnknown(Unprocessable):
    detail = "The code '{used_code}' is not known for this show."
    location = ("body", "code")

    used_code: str


class CodeExhausted(Conflict):
    detail = "The code '{used_code}' has {remaining} places left."

    used_code: str
    remaining: int


class CodeNotValidNow(Conflict):
    detail = "The code '{used_code}' is not valid now."

    used_code: str
    valid_from: str | None
    valid_until: str | None


class AdmissionRequired(Forbidden):
    detail = "Admission to this sale is required. Join the waiting room and send its token as X-Admission-Token."


HOLD_PROBLEMS = (
    EventNotFound,
    HoldNotFound,
    HoldExpired,
    HoldInUse,
    HoldUsed,
    EventCancelled,
    SaleClosed,
    SoldOut,
    SeatTaken,
    AccessibleOnly,
    LeavesSingleSeat,
    NoAdjacentSeats,
    NotEnoughSeats,
    SeatLimitReached,
    UnknownSeat,
    UnknownSection,
    CodeUnknown,
    CodeExhausted,
    CodeNotValidNow,
    AdmissionRequired,
)
"""What seating may answer to a request for a hold."""
