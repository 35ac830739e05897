from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, TypedDict, TypeVar, cast

from sqlalchemy import BigInteger, Boolean, Index, Integer, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from portico.contracts.bookings import BookingEvent, BookingId, BookingStatus
from portico.contracts.events import ShowId
from portico.contracts.payments import PaymentId
from portico.contracts.seating import HoldId
from portico.kit import Money, TableRules, UserId, identifier, revision
from portico.kit.data import ExactText, IdentifierNumber, Payload
from portico.services.bookings.domain import LEGAL
from portico.services.bookings.errors import IllegalTransition

E = TypeVar("E", bound=BookingEvent)

METHOD_LENGTH = 100
DETAIL_LENGTH = 500


class Base(TableRules, DeclarativeBase):
    """Base of the tables of bookings, tickets and check-ins."""


class Place(TypedDict):
    """A place of a booking as the row stores it. `seat_id`, `row` and `number` are None in a standing section.

    price_minor: the price paid for it, after discounts, in minor units of the booking's currency.
    """

    section: str
    seat_id: str | None
    row: str | None
    number: int | None
    price_minor: int


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
    is_own_hold: whether the booking took the hold itself; it is then released if the booking fails.
    amount_minor: what is charged, in minor units; 0 for a complimentary booking.
    refunded_minor: what was refunded or is being refunded.
    cancel_requested_at: when the booking was cancelled while it was being paid.
    """

    __tablename__ = "bookings"

    booking_id: Mapped[BookingId] = identifier()
    event_id: Mapped[ShowId] = mapped_column(IdentifierNumber(ShowId))
    user_id: Mapped[UserId]
    hold_id: Mapped[HoldId]
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
    created_at: Mapped[datetime]
    confirmed_at: Mapped[datetime | None]
    cancelled_at: Mapped[datetime | None]
    updated_at: Mapped[datetime]
    revision: Mapped[int] = revision()

    __table_args__ = (
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

    def confirm(self, *, now: datetime) -> None:
        """Mark the booking as paid and sold. Raises IllegalTransition."""
        self._change_to("CONFIRMED", now)
        self.confirmed_at = now

    def fail(self, reason: str, detail: str, *, now: datetime) -> None:
        """Mark the booking as failed; `reason` is a code and `detail` a sentence. Raises IllegalTransition."""
        self._change_to("FAILED", now)
        self.failure_reason, self.failure_detail = reason, detail[:DETAIL_LENGTH]

    def expire(self, detail: str, *, now: datetime) -> None:
        """Mark the booking as given up: it had no outcome in time. Raises IllegalTransition."""
        self._change_to("EXPIRED", now)
        self.failure_detail = detail[:DETAIL_LENGTH]

    def cancel(self, *, now: datetime) -> None:
        """Mark the booking as cancelled in whole. Raises IllegalTransition."""
        self._change_to("CANCELLED", now)
        self.cancelled_at = now

    def _change_to(self, wanted: BookingStatus, now: datetime) -> None:
        self.ensure_can_change_to(wanted)
        self.status, self.updated_at = wanted, now

    def _major(self, minor: int) -> Decimal:
        return Money(minor, self.currency).amount
