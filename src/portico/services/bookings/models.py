from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar, cast

from sqlalchemy import BigInteger, Boolean, Index, Integer, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from portico.contracts.bookings import BookingEvent, BookingId, BookingStatus
from portico.contracts.events import ShowEvent, ShowId
from portico.contracts.payments import PaymentId
from portico.contracts.seating import HoldId
from portico.kit import Money, TableRules, UserId, identifier, revision
from portico.kit.data import ExactText, IdentifierNumber, Payload
from portico.services.bookings.domain import LEGAL, Place
from portico.services.bookings.errors import IllegalTransition

E = TypeVar("E", bound=BookingEvent)

METHOD_LENGTH = 100
DETAIL_LENGTH = 500
REASON_LENGTH = 500


class Base(TableRules, DeclarativeBase):
    """Base of the tables of bookings, tickets and check-ins."""


@dataclass(frozen=True, slots=True)
class Seat:
    """A seat of a booking, with its price in major units."""

    seat_id: str
    section: str
    row: str | None
    number: int | None
    price: Decimal


class Booking(Base):
    """A booking of places of a show at the prices of its hold.

    `places` never change and are never queried alone, so they are stored in the row. A ticket names its place by the
    index in this list. A place of a cancelled ticket stays in the list.

    hold_id: the hold of the places.
    live_hold_id: the hold while this booking pays for it or has its places. A hold has one such booking.
    is_own_hold: whether the booking took the hold itself; it is then released if the booking fails.
    amount_minor: what is charged, in minor units; 0 for a complimentary booking.
    refunded_minor: what was refunded or is being refunded.
    payment_id: the payment of a confirmed booking that cost something.
    cancel_requested_at: when the booking was cancelled while it was being paid.
    cancellation_reason: why it was cancelled, in the words of who did it.
    """

    __tablename__ = "bookings"

    booking_id: Mapped[BookingId] = identifier()
    event_id: Mapped[ShowId] = mapped_column(IdentifierNumber(ShowId))
    user_id: Mapped[UserId]
    hold_id: Mapped[HoldId]
    live_hold_id: Mapped[HoldId | None]
    is_own_hold: Mapped[bool] = mapped_column(Boolean)
    status: Mapped[str] = mapped_column(ExactText(10))
    places: Mapped[list[Place]] = mapped_column(Payload)
    quantity: Mapped[int] = mapped_column(Integer)
    currency: Mapped[str] = mapped_column(ExactText(3))
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    discount_minor: Mapped[int] = mapped_column(BigInteger)
    refunded_minor: Mapped[int] = mapped_column(BigInteger)
    payment_method: Mapped[str | None] = mapped_column(String(METHOD_LENGTH))
    payment_id: Mapped[PaymentId | None]
    failure_reason: Mapped[str | None] = mapped_column(ExactText(64))
    failure_detail: Mapped[str | None] = mapped_column(String(DETAIL_LENGTH))
    cancel_requested_at: Mapped[datetime | None]
    cancellation_reason: Mapped[str | None] = mapped_column(String(REASON_LENGTH))
    created_at: Mapped[datetime]
    confirmed_at: Mapped[datetime | None]
    cancelled_at: Mapped[datetime | None]
    updated_at: Mapped[datetime]
    revision: Mapped[int] = revision()

    __table_args__ = (
        UniqueConstraint("live_hold_id"),
        Index(None, "user_id", "booking_id"),
        Index(None, "event_id", "booking_id"),
        Index(None, "hold_id"),
    )

    @property
    def booking_status(self) -> BookingStatus:
        """The status with its literal type."""
        return cast("BookingStatus", self.status)

    @property
    def amount(self) -> Decimal:
        """What is charged, in major units."""
        return self._major(self.amount_minor)

    @property
    def paid_minor(self) -> int:
        """What was paid before any refund, in minor units."""
        return self.amount_minor if self.confirmed_at is not None else 0

    @property
    def discount(self) -> Decimal:
        """By how much the amount is smaller than the prices of the places, in major units."""
        return self._major(self.discount_minor)

    @property
    def refunded(self) -> Decimal:
        """What was refunded, in major units."""
        return self._major(self.refunded_minor)

    @property
    def seats(self) -> list[Seat]:
        """The places that are seats, with prices in major units."""
        return [
            Seat(seat_id, place["section"], place["row"], place["number"], self._major(place["price_minor"]))
            for place in self.places
            if (seat_id := place["seat_id"]) is not None
        ]

    def to_event(self, kind: type[E], **more: Any) -> E:
        """Return an event of this type with the current state of the booking."""
        return kind(
            booking_id=self.booking_id,
            event_id=self.event_id,
            user_id=self.user_id,
            quantity=self.quantity,
            amount=self.amount,
            currency=self.currency,
            refunded=self.refunded,
            failure_reason=self.failure_reason,
            **more,
        )

    def ensure_can_change_to(self, wanted: BookingStatus) -> None:
        """Raise IllegalTransition unless the status may change to `wanted`."""
        legal = LEGAL[self.booking_status]
        if wanted not in legal:
            raise IllegalTransition(booking_id=self.booking_id, current=self.booking_status, wanted=wanted, legal=legal)

    def confirm(self, payment_id: PaymentId | None, *, now: datetime) -> None:
        """Mark the booking as paid and sold. Raises IllegalTransition."""
        self._change_to("CONFIRMED", now)
        self.confirmed_at, self.payment_id = now, payment_id

    def fail(self, reason: str, detail: str, *, now: datetime) -> None:
        """Mark the booking as failed; `reason` is a code and `detail` a sentence. Raises IllegalTransition."""
        self._change_to("FAILED", now)
        self.failure_reason, self.failure_detail = reason, detail[:DETAIL_LENGTH]
        self.live_hold_id = None

    def expire(self, detail: str, *, now: datetime) -> None:
        """Mark the booking as given up: it had no outcome in time. Raises IllegalTransition."""
        self._change_to("EXPIRED", now)
        self.failure_detail = detail[:DETAIL_LENGTH]
        self.live_hold_id = None

    def request_cancellation(self, reason: str | None, *, now: datetime) -> None:
        """Request cancellation once the running step of the saga has ended. Raises IllegalTransition."""
        self.ensure_can_change_to("CANCELLED")
        if self.cancel_requested_at is None:
            self.cancel_requested_at = self.updated_at = now
            self.cancellation_reason = reason

    def cancel_unpaid(self, *, now: datetime) -> None:
        """Mark the booking as cancelled before it was paid. Raises IllegalTransition."""
        self._change_to("CANCELLED", now)
        self.cancelled_at, self.live_hold_id = now, None

    def refund(self, minor: int, reason: str | None, *, whole: bool, now: datetime) -> None:
        """Record that tickets were cancelled for a refund of `minor` units; all tickets if `whole`."""
        self.refunded_minor += minor
        self.cancellation_reason, self.updated_at = reason, now
        if whole:
            self._change_to("CANCELLED", now)
            self.cancelled_at = now

    def _change_to(self, wanted: BookingStatus, now: datetime) -> None:
        self.ensure_can_change_to(wanted)
        self.status, self.updated_at = wanted, now

    def _major(self, minor: int) -> Decimal:
        return Money(minor, self.currency).amount


class Show(Base):
    """What bookings know of a show, from its events. `event_revision` is the show's revision in the newest event."""

    __tablename__ = "shows"

    event_id: Mapped[ShowId] = mapped_column(IdentifierNumber(ShowId), primary_key=True, autoincrement=False)
    event_revision: Mapped[int] = mapped_column(Integer)
    status: Mapped[str] = mapped_column(ExactText(12))
    currency: Mapped[str] = mapped_column(ExactText(3))
    cancellable_until: Mapped[datetime]
    refund_percent: Mapped[int] = mapped_column(Integer)
    full_refund_until: Mapped[datetime | None]

    @property
    def is_cancelled(self) -> bool:
        return self.status == "CANCELLED"

    @classmethod
    def of(cls, event: ShowEvent) -> "Show":
        """Return the show of its first event."""
        show = cls(event_id=event.event_id)
        show._take_over(event)
        return show

    def apply(self, event: ShowEvent) -> bool:
        """Take over the state after an event. Return whether the show is now cancelled and was not before."""
        if event.revision <= self.event_revision:
            return False
        was_cancelled = self.is_cancelled
        self._take_over(event)
        return self.is_cancelled and not was_cancelled

    def _take_over(self, event: ShowEvent) -> None:
        self.event_revision, self.status, self.currency = event.revision, event.status, event.currency
        self.cancellable_until = event.cancellable_until
        self.refund_percent, self.full_refund_until = event.refund_percent, event.full_refund_until

    @property
    def cancellations_close_at(self) -> datetime:
        """Until when buyers cancel: also as long as a new date or venue reopens full refunds."""
        return max(self.cancellable_until, self.full_refund_until or self.cancellable_until)

    def refund_percent_at(self, now: datetime) -> int:
        """Return the part of its price that a ticket refunds: all of it for a while after a new date or venue."""
        in_full = self.full_refund_until is not None and now < self.full_refund_until
        return 100 if in_full else self.refund_percent
