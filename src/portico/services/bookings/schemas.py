from pydantic import Field

from portico.contracts.bookings import BookingId, BookingStatus
from portico.contracts.events import ShowId
from portico.contracts.seating import HoldId
from portico.kit import Amount, Moment, Schema, UserId


class SeatRead(Schema):
    seat_id: str = Field(examples=["1-A-12"])
    section: str = Field(examples=["Stalls"])
    row: str | None = Field(examples=["A"])
    number: int | None = Field(examples=[12])
    price: Amount = Field(examples=[49.5])


class BookingTotalRead(Schema):
    """What a booking costs, for services. `refunded` is the part of `amount` that was refunded or is being refunded."""

    booking_id: BookingId
    user_id: UserId
    status: BookingStatus
    amount: Amount
    refunded: Amount
    currency: str
    created_at: Moment


class BookingRead(Schema):
    """A booking. `seats` is empty in a standing section. `failure_reason` is a code, `failure_detail` a sentence."""

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
    created_at: Moment
    confirmed_at: Moment | None
    cancelled_at: Moment | None
