from datetime import datetime
from typing import Any, Final, Literal, TypeVar

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from portico.contracts.bookings import BookingId, TicketEvent, TicketId, TransferId
from portico.contracts.events import ShowId
from portico.kit import UserId, identifier, revision
from portico.kit.data import ExactText, IdentifierNumber, LongText, Payload
from portico.services.bookings.models import Base
from portico.services.bookings.tickets.domain import SERIAL_LENGTH, new_serial
from portico.services.bookings.tickets.errors import (
    TicketCancelled,
    TicketTransferred,
    TicketUsed,
    TransferEnded,
    TransferExpired,
)

E = TypeVar("E", bound=TicketEvent)

SEAT_LENGTH: Final = 48
EMAIL_KEY_LENGTH: Final = 320

RevocationReason = Literal["CANCELLED", "REPLACED"]
TransferStatus = Literal["PENDING", "ACCEPTED", "CANCELLED"]


class TicketKey(Base):
    """A key that signs ticket codes from `signs_from`. Its private part is encrypted."""

    __tablename__ = "ticket_keys"

    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    public: Mapped[dict[str, Any]] = mapped_column(Payload)
    encrypted: Mapped[str] = mapped_column(LongText)
    signs_from: Mapped[datetime]
    created_at: Mapped[datetime]


class Holder(Base):
    """The name and the address of a user, from identity's events: for names on tickets, and for transfers.

    `email_key` is the address as `fold_email` compares it.
    """

    __tablename__ = "holders"

    user_id: Mapped[UserId] = mapped_column(primary_key=True)
    name: Mapped[str | None]
    email_key: Mapped[str] = mapped_column(ExactText(EMAIL_KEY_LENGTH))


class Ticket(Base):
    """A ticket for one place of a booking.

    place: index of the place in the booking.
    user_id: who holds it: the buyer, or who accepted a transfer.
    serial: names the ticket in its code. A transfer replaces it.
    price_minor: the price paid, in minor units of the booking's currency.
    """

    __tablename__ = "tickets"

    ticket_id: Mapped[TicketId] = identifier()
    booking_id: Mapped[BookingId] = mapped_column(ForeignKey("bookings.booking_id"))
    place: Mapped[int] = mapped_column(Integer)
    event_id: Mapped[ShowId] = mapped_column(IdentifierNumber(ShowId))
    user_id: Mapped[UserId]
    section: Mapped[str]
    seat_id: Mapped[str | None] = mapped_column(ExactText(SEAT_LENGTH))
    serial: Mapped[str] = mapped_column(ExactText(SERIAL_LENGTH))
    status: Mapped[str] = mapped_column(ExactText(10))
    checked_in_at: Mapped[datetime | None]
    transferred_at: Mapped[datetime | None]
    price_minor: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    revision: Mapped[int] = revision()

    __table_args__ = (
        UniqueConstraint("booking_id", "place"),
        UniqueConstraint("serial"),
        Index(None, "user_id", "ticket_id"),
        Index(None, "event_id", "ticket_id"),
    )

    @property
    def seat(self) -> str | None:
        """The seat's id, or None in a standing section."""
        return self.seat_id

    def to_event(self, kind: type[E], **more: Any) -> E:
        """Return an event of this type about the ticket."""
        return kind(
            ticket_id=self.ticket_id, booking_id=self.booking_id, event_id=self.event_id, seat=self.seat_id, **more
        )

    def ensure_can_be_offered(self) -> None:
        """Raise TicketUsed or TicketCancelled unless the ticket is valid."""
        self.ensure_not_cancelled()
        if self.status == "USED":
            raise TicketUsed(ticket_id=self.ticket_id)

    def ensure_not_cancelled(self) -> None:
        """Raise TicketCancelled if the ticket is void."""
        if self.status == "CANCELLED":
            raise TicketCancelled(ticket_id=self.ticket_id)

    def ensure_buyer_can_cancel(self) -> None:
        """Raise TicketUsed or TicketTransferred if it was used or another person holds it."""
        if self.status == "USED":
            raise TicketUsed(ticket_id=self.ticket_id)
        if self.transferred_at is not None:
            raise TicketTransferred(ticket_id=self.ticket_id)

    def use(self, *, at: datetime, now: datetime) -> None:
        """Mark the ticket as used at a gate at the moment `at`."""
        self.status, self.checked_in_at, self.updated_at = "USED", at, now

    def reopen(self, *, now: datetime) -> None:
        """Make a used ticket valid again."""
        if self.status == "USED":
            self.status, self.checked_in_at, self.updated_at = "VALID", None, now

    def cancel(self, *, now: datetime) -> "RevokedCode":
        """Void the ticket permanently and return the revocation of its code."""
        self.status, self.updated_at = "CANCELLED", now
        return self._revoke("CANCELLED", now)

    def hand_over(self, to: UserId, *, now: datetime) -> "RevokedCode":
        """Give the ticket to another user under a new code and return the revocation of the old code."""
        revoked = self._revoke("REPLACED", now)
        self.user_id, self.serial = to, new_serial()
        self.transferred_at = self.updated_at = now
        return revoked

    def _revoke(self, reason: RevocationReason, now: datetime) -> "RevokedCode":
        return RevokedCode(
            serial=self.serial, ticket_id=self.ticket_id, event_id=self.event_id, reason=reason, revoked_at=now
        )


class RevokedCode(Base):
    """The serial of a code that is no longer valid: its ticket was cancelled, or has another code since a transfer."""

    __tablename__ = "revoked_codes"

    serial: Mapped[str] = mapped_column(ExactText(SERIAL_LENGTH), primary_key=True)
    ticket_id: Mapped[TicketId] = mapped_column(ForeignKey("tickets.ticket_id"))
    event_id: Mapped[ShowId] = mapped_column(IdentifierNumber(ShowId))
    reason: Mapped[str] = mapped_column(ExactText(10))
    revoked_at: Mapped[datetime]

    __table_args__ = (Index(None, "event_id", "revoked_at", "serial"),)


class Transfer(Base):
    """The offer of a ticket to the owner of an email address."""

    __tablename__ = "transfers"

    transfer_id: Mapped[TransferId] = identifier()
    ticket_id: Mapped[TicketId] = mapped_column(ForeignKey("tickets.ticket_id"))
    from_user_id: Mapped[UserId]
    to_user_id: Mapped[UserId | None]
    email: Mapped[str] = mapped_column(String(EMAIL_KEY_LENGTH))
    status: Mapped[str] = mapped_column(ExactText(10))
    expires_at: Mapped[datetime]
    created_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    revision: Mapped[int] = revision()

    __table_args__ = (Index(None, "ticket_id", "status"), Index(None, "expires_at"))

    def is_open(self, now: datetime) -> bool:
        """Whether it can be accepted."""
        return self.status == "PENDING" and now < self.expires_at

    def accept(self, by: UserId, *, now: datetime) -> None:
        """Record that the user `by` accepted the ticket. Raises TransferEnded, TransferExpired."""
        self.ensure_open(now)
        self.status, self.to_user_id, self.ended_at = "ACCEPTED", by, now

    def withdraw(self, *, now: datetime) -> None:
        """End the offer. It can no longer be accepted."""
        if self.status == "PENDING":
            self.status, self.ended_at = "CANCELLED", now

    def ensure_open(self, now: datetime) -> None:
        """Raise TransferEnded or TransferExpired unless it can be accepted."""
        if self.status != "PENDING":
            raise TransferEnded(transfer_id=self.transfer_id, current=self.status)
        if now >= self.expires_at:
            raise TransferExpired(transfer_id=self.transfer_id, expired_at=self.expires_at)
