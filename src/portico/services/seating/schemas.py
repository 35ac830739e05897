from typing import Annotated

from pydantic import Field

from portico.contracts.events import SectionPlan, ShowId
from portico.kit import Amount, CurrencyCode, Schema

_MOST_SECTIONS = 1_000


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


class LayoutPut(Schema):
    """The sections of a show at a revision of it."""

    sections: Annotated[list[SectionPlan], Field(min_length=1, max_length=_MOST_SECTIONS)]
    revision: Annotated[int, Field(ge=1)]
