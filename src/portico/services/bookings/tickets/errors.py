from datetime import datetime

from portico.contracts.bookings import TicketId, TransferId
from portico.kit import Conflict, NotFound, TooManyRequests, Unavailable, Unprocessable


class TicketNotFound(NotFound):
    detail = "Ticket {ticket_id} not found."

    ticket_id: TicketId


class TransferNotFound(NotFound):
    """The transfer does not exist, or it is not for the caller."""

    detail = "Transfer {transfer_id} not found."

    transfer_id: TransferId


class TicketUsed(Conflict):
    detail = "Ticket {ticket_id} was used at a gate. It cannot be cancelled or transferred."

    ticket_id: TicketId


class TicketTransferred(Conflict):
    detail = "Ticket {ticket_id} was transferred to another person. It cannot be cancelled."

    ticket_id: TicketId


class TicketCancelled(Conflict):
    detail = "Ticket {ticket_id} was cancelled."

    ticket_id: TicketId


class TransferPending(Conflict):
    """The ticket is already offered to another person."""

    detail = "Ticket {ticket_id} is already being transferred. Delete transfer {transfer_id} first."

    ticket_id: TicketId
    transfer_id: TransferId


class TooManyTransfers(TooManyRequests):
    """Each offer sends a mail to an address that the caller chooses."""

    detail = "This ticket was offered too often today. Retry in {retry_after:.0f} seconds."


class TransferExpired(Conflict):
    detail = "Transfer {transfer_id} has expired. Ask for a new one."

    transfer_id: TransferId
    expired_at: datetime


class TransferEnded(Conflict):
    """The transfer was accepted or withdrawn."""

    detail = "Transfer {transfer_id} is '{current}'. Ask for a new one."

    transfer_id: TransferId
    current: str


class OwnAddress(Unprocessable):
    detail = "This is your own address. A ticket can be transferred to another person only."
    location = ("body", "email")


class AccountUnknown(Unavailable):
    """Identity's event about the caller's account was not delivered yet."""

    detail = "Your account is not known here yet. Retry in {retry_after:.0f} seconds."
