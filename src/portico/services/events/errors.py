from portico.contracts.events import ShowId, ShowStatus
from portico.kit import Conflict, NotFound, Unprocessable


class ShowNotFound(NotFound):
    code = "event_not_found"
    detail = "Event {event_id} does not exist."

    event_id: ShowId


class IllegalTransition(Conflict):
    """The status cannot follow the current one."""

    detail = "An event in status '{current}' cannot change to '{wanted}'. Allowed next statuses: {legal}."

    current: ShowStatus
    wanted: ShowStatus
    legal: list[ShowStatus]

    def sentence(self) -> str:
        text = super().sentence()
        if (self.current, self.wanted) == ("SOLD_OUT", "ON_SALE"):
            return f'{text} Send "reopen": true to sell it again.'
        return text


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
