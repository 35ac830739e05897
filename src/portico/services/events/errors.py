from portico.contracts.events import ShowId, ShowStatus
from portico.kit import Conflict, NotFound, Unprocessable


class ShowNotFound(NotFound):
    code = "event_not_found"
    detail = "Event {event_id} does not exist."

    event_id: ShowId


class IllegalTransition(Conflict):
    """The status cannot follow the current one."""

    detail = "An event in status '{current}' cannot change to '{wanted}'."

    current: ShowStatus
    wanted: ShowStatus
    legal: list[ShowStatus]

    def sentence(self) -> str:
        text = f"{super().sentence()} Allowed next statuses: {', '.join(self.legal) or 'none'}."
        if (self.current, self.wanted) == ("SOLD_OUT", "ON_SALE"):
            return f'{text} Send "reopen": true to sell it again.'
        return text


class ShowEnded(Conflict):
    code = "event_ended"
    detail = "The event is {current} and cannot be changed any more."

    current: ShowStatus


class ShowInUse(Conflict):
    code = "event_in_use"
    detail = "Seats of event {event_id} are held or sold, so it cannot be deleted. Cancel it instead."

    event_id: ShowId


class SeatsInUse(Conflict):
    """A new layout lacks places that are held, sold or blocked. `seats` is empty in a standing section."""

    detail = "Section '{section}' has {used} places in use, which do not all exist in the new layout. Keep them."

    section: str
    used: int
    seats: list[str]


class CurrencyInUse(Conflict):
    """The currency of a show is that of its holds, bookings and codes."""

    detail = (
        "Places that are held or sold: {used}; codes with an amount: {codes}. "
        "The show's currency, {currency}, can change when there are none."
    )

    currency: str
    used: int
    codes: int


class ChangeInProgress(Conflict):
    """Another change of the sections, or the deletion, is not finished yet."""

    detail = "Another change of event {event_id} is in progress. Retry in 1 second."

    event_id: ShowId

    @property
    def headers(self) -> dict[str, str]:
        return {"retry-after": "1"}


class LayoutInvalid(Unprocessable):
    code = "invalid_layout"
    detail = "The sections are not valid: {reason}."
    location = ("body", "sections")

    reason: str


class SeatTotalDiffers(Unprocessable):
    detail = "The sections have {places} places together, but the event has {total_seats}. Correct one of them."
    location = ("body", "total_seats")

    places: int
    total_seats: int


class SaleWindowInvalid(Unprocessable):
    code = "invalid_sale_window"
    detail = "The sale must start before it ends; it ends with the event unless sale_end_time is given."
    location = ("body", "sale_start_time")
