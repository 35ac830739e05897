from typing import Annotated

from pydantic import Field, StringConstraints

from portico.contracts.bookings import BookingId, TicketId, TicketStatus, TransferId
from portico.contracts.events import ShowId
from portico.contracts.seating import HoldId
from portico.kit import Moment, Schema
from portico.services.bookings.tickets.models import TransferStatus

_EMAIL_PART = r"[^@\s\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]+"  # one line without white space
_MAX_EMAIL_LENGTH = 254  # RFC 5321 section 4.5.3.1.3

EmailText = Annotated[
    str,
    StringConstraints(min_length=3, max_length=_MAX_EMAIL_LENGTH, pattern=f"^{_EMAIL_PART}@{_EMAIL_PART}$"),
    Field(json_schema_extra={"format": "email"}, examples=["ada@example.com"]),
]


class TicketRead(Schema):
    """A ticket. `code` is what a gate reads; `qr` is the path of its QR code. `seat` is null in a standing section."""

    ticket_id: TicketId
    booking_id: BookingId
    event_id: ShowId
    code: str = Field(examples=["AEAAAAQ5JVZJQ2GYUB2BJQ4D…"])
    qr: str = Field(examples=["/tickets/tkt_01jd8m2v4x6z8q0s2t4w6y8a0b/qr"])
    section: str = Field(examples=["Stalls"])
    seat: str | None = Field(examples=["1-A-12"])
    holder_name: str | None = Field(examples=["Ada Lovelace"])
    status: TicketStatus
    checked_in_at: Moment | None


class TransferCreate(Schema):
    """The address of the person who can accept the ticket."""

    email: EmailText


class TransferRead(Schema):
    """An offer of a ticket to another person."""

    transfer_id: TransferId
    ticket_id: TicketId
    email: str = Field(examples=["ada@example.com"])
    status: TransferStatus
    expires_at: Moment
    created_at: Moment


class SoldPlaceRead(Schema):
    """A live ticket of a confirmed booking, for services."""

    ticket_id: TicketId
    booking_id: BookingId
    hold_id: HoldId
    section: str
    seat_id: str | None
