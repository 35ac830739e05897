from collections.abc import Sequence
from datetime import datetime

from portico.contracts.events import ShowId, ShowStatus
from portico.contracts.seating import HoldId, WaitlistEntryId
from portico.kit import Conflict, Forbidden, NotFound, Unprocessable


class _AboutSeats(Conflict):
    """Base of the problems that name seats."""

    seats: Sequence[str]

    def sentence(self) -> str:
        return self.detail.format(**{**self.data(), "seats": ", ".join(self.seats)})


class EventNotFound(NotFound):
    detail = "Event {event_id} not found."

    event_id: ShowId


class UnknownSeat(Unprocessable):
    detail = "Unknown seats: {listed}. A seat is named by section, row and number, such as 1-A-12."
    location = ("body", "seats")

    seats: Sequence[str]

    def sentence(self) -> str:
        return self.detail.format(listed=", ".join(self.seats))


class UnknownSection(Unprocessable):
    detail = "The show has no section '{section}'."
    location = ("body", "section")

    section: str


class SeatTaken(_AboutSeats):
    detail = "Seats that are not free: {seats}. Choose other seats."


class AccessibleOnly(_AboutSeats):
    """Accessible seats are reserved for requests for one."""

    detail = "Accessible seats: {seats}. Request one with `accessible`, or choose other seats."


class LeavesSingleSeat(_AboutSeats):
    detail = "This choice leaves single free seats: {seats}. Choose other seats in this row."


class NoAdjacentSeats(Conflict):
    detail = "The largest block of free seats side by side has {largest_block}. Request fewer, or allow separate seats."

    largest_block: int


class NotEnoughSeats(Conflict):
    detail = "{requested} places are requested, {available} are available."

    requested: int
    available: int


class SeatsInUse(_AboutSeats):
    """A new layout lacks places that are held, sold or blocked. `seats` is empty in a standing section."""

    detail = "Section '{section}' has {used} places in use, which do not all exist in the new layout. Keep them."

    section: str
    used: int


class CurrencyInUse(Conflict):
    """The currency of a show is that of its holds, bookings and codes, so it cannot change while there are any."""

    detail = (
        "Places that are held or sold: {used}; codes with an amount: {codes}. "
        "The show's currency, {currency}, can change when there are none."
    )

    currency: str
    used: int
    codes: int


class SeatLimitReached(Conflict):
    """The user holds or has booked as many places as one user may."""

    detail = "A user may have {limit} places of this show. Held: {held}, booked: {booked}."

    limit: int
    held: int
    booked: int


class SaleClosed(Conflict):
    detail = "The sale is not open."

    event_status: ShowStatus
    opens_at: datetime | None
    closes_at: datetime


class SoldOut(Conflict):
    detail = "The show is sold out. Join its waiting list."

    event_id: ShowId


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
    valid_from: datetime | None
    valid_until: datetime | None


class CodeNotFound(NotFound):
    detail = "Code {used_code} not found."

    used_code: str


class CodeTaken(Conflict):
    detail = "The show already has the code {code_in_use}. Delete it first, or choose another one."

    code_in_use: str


class SeatNotFound(NotFound):
    detail = "Seat {seat_id} not found."

    seat_id: str


class HoldNotFound(NotFound):
    detail = "Hold {hold_id} not found."

    hold_id: HoldId


class HoldExpired(Conflict):
    detail = "Hold {hold_id} has ended. Take a new one."

    hold_id: HoldId


class HoldInUse(Conflict):
    detail = "Hold {hold_id} is being paid. Retry when the booking has an outcome."

    hold_id: HoldId


class HoldUsed(Conflict):
    detail = "Hold {hold_id} was sold to booking {booking_id}."

    hold_id: HoldId
    booking_id: str


class HoldLost(Conflict):
    detail = "Hold {hold_id} is not claimed by booking {booking_id}."

    hold_id: HoldId
    booking_id: str


class EventCancelled(Conflict):
    detail = "The show {event_id} is cancelled."

    event_id: ShowId


class EventInUse(Conflict):
    detail = "The show {event_id} has places that are held or sold. Cancel it instead."

    event_id: ShowId


class SeatsAvailable(Conflict):
    detail = "{available} places are available. Hold them instead of waiting."

    available: int


class AlreadyWaiting(Conflict):
    detail = "The caller is already in the waiting list of this show."

    entry_id: WaitlistEntryId


class WaitlistEntryNotFound(NotFound):
    detail = "The caller has not joined the waiting list of this show."


class QueueNotOpen(Conflict):
    detail = "The waiting room is not open yet."

    opens_at: datetime | None


class NotInQueue(NotFound):
    detail = "The caller is not in the waiting room of event {event_id}. Join it first."

    event_id: ShowId


class AdmissionRequired(Forbidden):
    detail = "Admission to this sale is required. Join the waiting room and send its token as X-Admission-Token."
