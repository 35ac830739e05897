from datetime import datetime
from decimal import Decimal
from functools import cached_property
from typing import Annotated, Any, Final, Self

import orjson
from pydantic import Field, model_validator
from pydantic.alias_generators import to_camel

from portico.contracts.bookings import BookingId
from portico.contracts.events import ShowId
from portico.contracts.seating import HoldId, HoldStatus
from portico.kit import Amount, CurrencyCode, Line, Moment, Money, OneLine, Schema, UserId
from portico.kit.foundation import json_number
from portico.kit.http import Case
from portico.services.seating.codes.schemas import CodeText
from portico.services.seating.holds.domain import HeldPlace, Hold, Wanted

MAX_PLACES: Final = 1_000
_MAX_SEAT_ID_LENGTH: Final = 32
_MAX_KEY_LENGTH: Final = 100

SeatIds = Annotated[list[Annotated[str, OneLine(_MAX_SEAT_ID_LENGTH)]], Field(min_length=1, max_length=MAX_PLACES)]


class WantedPlaces(Schema):
    """A number of the best places, in a section if it is named, or chosen seats; with a code, if the user has one."""

    quantity: Annotated[int, Field(ge=1, le=MAX_PLACES)] | None = None
    section: Line | None = None
    together: bool = False
    accessible: bool = False
    seats: SeatIds | None = None
    code: CodeText | None = None

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Self:
        if (self.quantity is None) == (self.seats is None):
            raise ValueError("name either a quantity or seats")
        if self.seats is None:
            return self
        if self.section is not None or self.together or self.accessible:
            raise ValueError("section, together and accessible are for a quantity")
        if len(set(self.seats)) < len(self.seats):
            raise ValueError("a seat is named twice")
        return self

    @property
    def wanted(self) -> Wanted:
        """The places as the rules of holds take them."""
        seats = tuple(self.seats or ())
        return Wanted(self.quantity or len(seats), self.section, self.together, self.accessible, seats, self.code)


class HoldCreate(WantedPlaces):
    """A hold to take: a number of the best places, in a section if it is named, or chosen seats."""


class HeldSeatRead(Schema):
    """A seat of a hold, and what it costs."""

    seat_id: str
    section: str
    row: str
    number: int
    price: Amount


class HoldRead(Schema):
    """A hold. `seats` is empty if the places are in a standing section. `adjacent` says whether they are side by side."""

    hold_id: HoldId
    event_id: ShowId
    user_id: UserId
    status: HoldStatus
    quantity: int
    seats: list[HeldSeatRead]
    adjacent: bool
    amount: Amount
    discount: Amount
    currency: CurrencyCode
    expires_at: Moment
    created_at: Moment


class HeldPlaceRead(Schema):
    """A place of a hold. `seat_id`, `row` and `number` are null in a standing section."""

    seat_id: str | None
    section: str
    row: str | None
    number: int | None
    price: Amount


class ServiceHoldRead(Schema):
    """A hold as other services see it: with the price of every place, also of standing ones.

    `booking_id` is the booking that claims it or that it was sold to.
    """

    hold_id: HoldId
    event_id: ShowId
    user_id: UserId
    status: HoldStatus
    quantity: int
    places: list[HeldPlaceRead]
    amount: Amount
    discount: Amount
    currency: CurrencyCode
    expires_at: Moment
    booking_id: BookingId | None


class HoldPut(WantedPlaces):
    """A hold that a service takes for a user. `admission` is the user's token of the waiting room, while that is on."""

    user_id: UserId
    admission: Annotated[str, Field(max_length=1000)] | None = None


class ClaimPut(Schema):
    """The booking that claims a hold, and the user whose hold it is."""

    booking_id: BookingId
    user_id: UserId


class ReleasePut(Schema):
    """The booking that gives a hold back: to its user (`keep`), or to the public."""

    booking_id: BookingId
    keep: bool


class SalePut(Schema):
    """The booking that a hold is sold to."""

    booking_id: BookingId


class SoldPlacePut(Schema):
    """A sold place: a seat, or a place of a standing section."""

    seat_id: Annotated[str, OneLine(_MAX_SEAT_ID_LENGTH)] | None = None
    section: Line | None = None

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Self:
        if (self.seat_id is None) == (self.section is None):
            raise ValueError("name either a seat or a section")
        return self


class ReturnPut(Schema):
    """Sold places that a booking returns. A repeat with the same key changes nothing."""

    booking_id: BookingId
    key: Annotated[str, OneLine(_MAX_KEY_LENGTH)]
    places: Annotated[list[SoldPlacePut], Field(max_length=MAX_PLACES)]


class HoldView:
    """A hold as it is at a moment, with the attributes that schemas read."""

    def __init__(self, hold: Hold, now: datetime) -> None:
        self._hold = hold
        self.hold_id = hold.hold_id
        self.event_id = hold.show_id
        self.user_id = hold.user_id
        self.status = hold.status_at(now)
        self.quantity = hold.quantity
        self.adjacent = hold.is_adjacent
        self.currency = hold.currency
        self.booking_id = hold.booking_id
        self.expires_at = hold.expires_at
        self.created_at = hold.created_at
        self.revision = hold.changes
        self.related_revision = int(self.status != hold.status)

    @property
    def amount(self) -> Decimal:
        return self._decimal(self._hold.amount)

    @property
    def discount(self) -> Decimal:
        return self._decimal(self._hold.discount)

    @cached_property
    def places(self) -> list[dict[str, Any]]:
        return [self._place(each) for each in self._hold.places]

    @property
    def seats(self) -> list[dict[str, Any]]:
        return [each for each in self.places if each["seat_id"] is not None]

    def _place(self, place: HeldPlace) -> dict[str, Any]:
        price = self._decimal(place.price)
        return {
            "seat_id": place.seat_id,
            "section": place.section,
            "row": place.row,
            "number": place.number,
            "price": price,
        }

    def _decimal(self, minor: int) -> Decimal:
        return Money(minor, self.currency).amount


_NAMES: Final[dict[Case, tuple[str, ...]]] = {
    "snake": tuple(HoldRead.model_fields),
    "camel": tuple(map(to_camel, HoldRead.model_fields)),
}
_SEAT_NAMES: Final[dict[Case, tuple[str, ...]]] = {
    "snake": tuple(HeldSeatRead.model_fields),
    "camel": tuple(map(to_camel, HeldSeatRead.model_fields)),
}


def hold_json(hold: Hold, case: Case) -> bytes:
    """Return a new hold as JSON, as `HoldRead` renders it. Rendering it by the model would take five times as long."""
    currency, names = hold.currency, _SEAT_NAMES[case]
    seats = [
        dict(
            zip(
                names,
                (each.seat_id, each.section, each.row, each.number, json_number(each.price, currency)),
                strict=True,
            )
        )
        for each in hold.places
        if each.seat_id is not None
    ]
    values = (
        str(hold.hold_id),
        int(hold.show_id),
        str(hold.user_id),
        hold.status,
        hold.quantity,
        seats,
        hold.is_adjacent,
        json_number(hold.amount, currency),
        json_number(hold.discount, currency),
        currency,
        hold.expires_at,
        hold.created_at,
    )
    return orjson.dumps(dict(zip(_NAMES[case], values, strict=True)), option=orjson.OPT_UTC_Z)
