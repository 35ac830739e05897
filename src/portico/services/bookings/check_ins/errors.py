from datetime import datetime

from portico.contracts.bookings import CheckInId
from portico.contracts.events import ShowId
from portico.kit import Conflict, NotFound, Unprocessable


class CheckInNotFound(NotFound):
    detail = "Check-in {check_in_id} not found."

    check_in_id: CheckInId


class TicketUnknown(NotFound):
    """The code was not signed by this system, or its ticket does not exist."""

    detail = "No ticket has this code. It is forged, or it belongs to another system."


class CodeReplaced(Conflict):
    detail = "This code was replaced when the ticket was transferred. Ask for the new code."


class WrongEvent(Conflict):
    detail = "This ticket is for another event, {ticket_event_id}."

    ticket_event_id: ShowId


class AlreadyCheckedIn(Conflict):
    detail = "This ticket was already used at {first_checked_in_at:%Y-%m-%d %H:%M:%S} UTC."

    check_in_id: CheckInId
    first_checked_in_at: datetime
    gate: str | None


class ScanIdReused(Unprocessable):
    detail = "The scan '{scan_id}' was of another ticket. Give each scan an id of its own."
    location = ("body", "scan_id")

    scan_id: str


class CheckInSuperseded(Conflict):
    """An earlier scan of the ticket arrived later, so this is not the check-in that counts."""

    detail = "An earlier scan of this ticket, check-in {superseded_by}, counts instead. Undo that one."

    superseded_by: CheckInId
