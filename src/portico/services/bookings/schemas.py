from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from portico.contracts.bookings import BookingId, BookingStatus, TicketId
from portico.contracts.events import ShowId
from portico.contracts.payments import PaymentId, PaymentStatus
from portico.contracts.seating import HoldId
from portico.kit import Amount, Moment, OneLine, Schema, UserId
from portico.services.bookings.hold_reader import WantedPlaces
from portico.services.bookings.models import METHOD_LENGTH, REASON_LENGTH

MAX_PLACES = 1000
_SEAT_LENGTH = 48
_SECTION_LENGTH = 200
_CODE_LENGTH = 64

PaymentMethod = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=METHOD_LENGTH, pattern=r"^[!-~]+$")
]


class BookingCreate(Schema):
    """A booking of a hold, of a number of places, or of chosen seats.

    With `amount`, the booking is rejected if the places cost something else.
    """

    event_id: ShowId
    hold_id: HoldId | None = None
    quantity: Annotated[int, Field(ge=1, le=MAX_PLACES)] | None = Field(None, examples=[2])
    seats: Annotated[list[Annotated[str, OneLine(_SEAT_LENGTH)]], Field(min_length=1, max_length=MAX_PLACES)] | None = (
        Field(None, examples=[["1-A-12", "1-A-13"]])
    )
    section: Annotated[str, OneLine(_SECTION_LENGTH)] | None = Field(None, examples=["Stalls"])
    code: Annotated[str, OneLine(_CODE_LENGTH)] | None = Field(None, examples=["EARLY"])
    amount: Amount | None = Field(None, examples=[99.0])
    payment_method: PaymentMethod | None = Field(None, examples=["pm_ok"])
    user_id: UserId | None = None

    @model_validator(mode="after")
    def _names_places_once(self) -> Self:
        if sum(each is not None for each in (self.hold_id, self.quantity, self.seats)) != 1:
            raise ValueError("send one of 'hold_id', 'quantity' and 'seats'")
        if self.section is not None and self.quantity is None:
            raise ValueError("'section' requires 'quantity'")
        if self.code is not None and self.hold_id is not None:
            raise ValueError("a code belongs to the hold; send it when you take the hold")
        if self.seats is not None and len(set(self.seats)) < len(self.seats):
            raise ValueError("each seat may appear only once")
        return self

    @property
    def wanted(self) -> WantedPlaces:
        return WantedPlaces(self.quantity, self.section, None if self.seats is None else tuple(self.seats), self.code)


class SeatRead(Schema):
    seat_id: str = Field(examples=["1-A-12"])
    section: str = Field(examples=["Stalls"])
    row: str | None = Field(examples=["A"])
    number: int | None = Field(examples=[12])
    price: Amount = Field(examples=[49.5])


class BookingTotalRead(Schema):
    """What was paid for a booking, for services. `refunded` is the part of `amount` that was or is being refunded."""

    booking_id: BookingId
    user_id: UserId
    status: BookingStatus
    amount: Amount
    refunded: Amount
    currency: str
    created_at: Moment


class BookingRead(Schema):
    """A booking. `seats` is empty in a standing section. `failure_reason` is a code, `failure_detail` a sentence.

    `quantity`, `seats` and `amount` stay as they were booked: its tickets show which are cancelled.
    """

    booking_id: BookingId
    event_id: ShowId
    user_id: UserId
    status: BookingStatus
    quantity: int = Field(examples=[2])
    seats: list[SeatRead]
    amount: Amount = Field(examples=[99.0])
    discount: Amount = Field(examples=[0])
    currency: str = Field(examples=["USD"])
    refunded: Amount = Field(examples=[0])
    hold_id: HoldId
    failure_reason: str | None
    failure_detail: str | None
    cancellation_reason: str | None
    created_at: Moment
    confirmed_at: Moment | None
    cancelled_at: Moment | None


class CancellationCreate(Schema):
    """Which tickets are cancelled: all without `ticket_ids`. `refund_percent` is for staff."""

    ticket_ids: Annotated[list[TicketId], Field(min_length=1, max_length=MAX_PLACES)] | None = None
    reason: Annotated[str, OneLine(REASON_LENGTH)] | None = Field(None, examples=["Cannot come"])
    refund_percent: Annotated[int, Field(ge=0, le=100)] | None = Field(None, examples=[100])


class SummaryRead(Schema):
    """The bookings of a show. `tickets` are not cancelled; `net` is `gross` less `refunded`."""

    confirmed: int
    cancelled: int
    tickets: int
    checked_in: int
    gross: Amount = Field(examples=[99.0])
    refunded: Amount = Field(examples=[0])
    net: Amount = Field(examples=[99.0])
    currency: str = Field(examples=["USD"])


class LiveStatusRead(Schema):
    """A message of the live status: the current status of the booking."""

    booking_id: BookingId
    status: BookingStatus
    failure_reason: str | None
    updated_at: Moment


class BookingPaymentRead(Schema):
    """A payment of a booking. Money is in `currency`."""

    payment_id: PaymentId
    status: PaymentStatus
    amount: Amount = Field(examples=[99.0])
    refunded: Amount = Field(examples=[0])
    currency: str = Field(examples=["USD"])
    method: str = Field(examples=["pm_ok"])
    failure_reason: str | None
    created_at: Moment
