from typing import Annotated, Final, Self

from pydantic import Field, field_validator, model_validator

from portico.contracts.events import SectionPlan, ShowId
from portico.contracts.seating import HoldId
from portico.kit import Amount, CurrencyCode, Line, Moment, OneLine, Schema, UserId

_MAX_SECTIONS: Final = 1_000
_MAX_PLACES: Final = 200_000
_MAX_SEAT_ID_LENGTH: Final = 32
_MAX_BLOCKED: Final = 10_000


class SectionCountsRead(Schema):
    """The places of a section: available, held, sold and blocked add up to the total."""

    section: str
    price: Amount
    currency: CurrencyCode
    total: int
    available: int
    held: int
    sold: int
    blocked: int


class InventoryRead(Schema):
    """The places of a show: available, held, sold and blocked add up to the total."""

    event_id: ShowId
    total_seats: int
    available: int
    held: int
    sold: int
    blocked: int
    sections: list[SectionCountsRead]


class RowMapRead(Schema):
    """A row of seats. `states` has a letter for each seat, from number 1: F free, H held, S sold, B blocked."""

    row: str
    states: str


class SectionMapRead(Schema):
    """A section of the map. A seated one has `rows`, a standing one `capacity` and `available`.

    The id of a seat is the section's number, the row and the seat's number: 1-A-12.
    """

    section: str
    number: int
    price: Amount
    currency: CurrencyCode
    rows: list[RowMapRead] | None = None
    capacity: int | None = None
    available: int | None = None
    accessible: list[str]


class SeatMapRead(Schema):
    """The map of all seats of a show, at a version."""

    event_id: ShowId
    version: int
    sections: list[SectionMapRead]


class StandingRead(Schema):
    """The available places of a standing section."""

    section: str
    available: int


class SeatChangesRead(Schema):
    """The seats that changed since a version, each with its id and its current state, and the changed standing sections."""

    version: int
    changes: list[tuple[str, str]]
    standing: list[StandingRead]


class AvailabilityRead(Schema):
    """How many places of a show are neither held nor sold nor blocked, and how many are held or sold."""

    event_id: ShowId
    available: int
    used: int


class SectionPut(Schema):
    """A section: seated with `rows` and `seats_per_row`, or standing with `capacity`. Without a price it has the show's.

    `accessible` names accessible seats by row and number: A-1.
    """

    name: Line
    rows: Annotated[int, Field(ge=1, le=_MAX_PLACES)] | None = None
    seats_per_row: Annotated[int, Field(ge=1, le=_MAX_PLACES)] | None = None
    capacity: Annotated[int, Field(ge=1, le=_MAX_PLACES)] | None = None
    price: Amount | None = None
    accessible: Annotated[list[Annotated[str, OneLine(_MAX_SEAT_ID_LENGTH)]], Field(max_length=_MAX_PLACES)] = Field(
        default_factory=list
    )

    @model_validator(mode="after")
    def _is_seated_or_standing(self) -> Self:
        is_seated = self.rows is not None and self.seats_per_row is not None and self.capacity is None
        is_standing = self.rows is None and self.seats_per_row is None and self.capacity is not None
        if not (is_seated or is_standing):
            raise ValueError("a section has either rows and seats_per_row, or a capacity")
        if self.plan.places > _MAX_PLACES:
            raise ValueError(f"a section has at most {_MAX_PLACES} places")
        return self

    @property
    def plan(self) -> SectionPlan:
        """The section as events describe it."""
        return SectionPlan(**self.model_dump())


class LayoutPut(Schema):
    """The sections and prices of a show at a revision of it. `price` is that of places in a section without a price."""

    sections: Annotated[list[SectionPut], Field(min_length=1, max_length=_MAX_SECTIONS)]
    price: Amount
    currency: CurrencyCode
    revision: Annotated[int, Field(ge=1)]


class BlocksPut(Schema):
    """Seats that are kept back from the sale (`blocked`), or returned to it."""

    seats: Annotated[list[Annotated[str, OneLine(_MAX_SEAT_ID_LENGTH)]], Field(min_length=1, max_length=_MAX_BLOCKED)]
    blocked: bool

    @field_validator("seats")
    @classmethod
    def _are_distinct(cls, seats: list[str]) -> list[str]:
        if len(set(seats)) < len(seats):
            raise ValueError("a seat is named twice")
        return seats


class BlocksRead(Schema):
    """The seats that are now blocked, or free."""

    event_id: ShowId
    seats: list[str]
    blocked: bool


class SeatChangeRead(Schema):
    """A change of a seat: its new state, the reason, the time and the hold. A block has no hold."""

    state: str
    reason: str
    hold_id: HoldId | None
    user_id: UserId | None
    booking_id: str | None
    changed_at: Moment


class SeatHistoryRead(Schema):
    """The last changes of a seat, newest first."""

    event_id: ShowId
    seat_id: str
    changes: list[SeatChangeRead]
