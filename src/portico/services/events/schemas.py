from datetime import datetime
from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import AfterValidator, Field, StringConstraints

from portico.contracts.events import OrphanRule, ShowId, ShowStatus, WaitingRoomMode
from portico.kit import Amount, CurrencyCode, Moment, OneLine, Schema
from portico.services.events.domain import (
    FIRST_TIME,
    LAST_TIME,
    MAX_ACCESSIBLE,
    MAX_NAME_LENGTH,
    MAX_SEATS,
    MAX_SECTIONS,
    MAX_ZONE_LENGTH,
    Section,
    zone,
)


def _known_zone(name: str) -> str:
    zone(name)
    return name


def _storable(moment: datetime) -> datetime:
    if not FIRST_TIME <= moment < LAST_TIME:
        raise ValueError(f"the time must be in the years {FIRST_TIME.year} to {LAST_TIME.year - 1}")
    return moment


Name = Annotated[str, OneLine(MAX_NAME_LENGTH), Field(examples=["Queen"])]
Venue = Annotated[str, OneLine(MAX_NAME_LENGTH), Field(examples=["Wembley Arena"])]
Category = Annotated[str, OneLine(100), Field(examples=["Rock"])]
Description = Annotated[str, StringConstraints(max_length=5_000)]
TimeZone = Annotated[
    str,
    OneLine(MAX_ZONE_LENGTH),
    AfterValidator(_known_zone),
    Field(description="IANA name", examples=["Europe/London"]),
]
ShowTime = Annotated[Moment, AfterValidator(_storable), Field(examples=["2027-03-01T19:00:00Z"])]
Seats = Annotated[int, Field(ge=1, le=MAX_SEATS, examples=[140])]
Percent = Annotated[int, Field(ge=0, le=100, examples=[100])]
AccessibleSeat = Annotated[str, StringConstraints(pattern="^[A-Z]{1,4}-[1-9][0-9]{0,5}$")]


class SectionWrite(Schema):
    """A section of the hall: seated with `rows` and `seats_per_row`, or standing with `capacity`.

    Rows are A to Z, then AA. `accessible` names seats by row and number ("A-1").
    """

    name: Annotated[str, OneLine(100), Field(examples=["Stalls"])]
    rows: Seats | None = Field(None, examples=[10])
    seats_per_row: Seats | None = Field(None, examples=[14])
    capacity: Seats | None = Field(None, examples=[None])
    price: Amount | None = Field(None, examples=[79.5])
    accessible: Annotated[list[AccessibleSeat], Field(max_length=MAX_ACCESSIBLE, examples=[["A-1"]])] = Field(
        default_factory=list
    )

    def to_section(self) -> Section:
        """Return the section."""
        return Section(**{**dict(self), "accessible": tuple(self.accessible)})


Sections = Annotated[list[SectionWrite], Field(min_length=1, max_length=MAX_SECTIONS)]


class ShowCreate(Schema):
    """A new event. Without `sections` it has one standing section, "General"."""

    event_name: Name
    event_date: ShowTime
    venue_name: Venue
    total_seats: Seats
    status: Literal["UPCOMING", "ON_SALE"] = "UPCOMING"
    sale_start_time: ShowTime | None = None
    sale_end_time: ShowTime | None = Field(None, description="The event's date if it is not given")
    time_zone: TimeZone = "UTC"
    price: Annotated[Amount, Field(examples=[49.5])] = Field(0, validate_default=True)
    currency: CurrencyCode = "USD"
    description: Description | None = None
    category: Category | None = None
    sections: Sections | None = None
    max_seats_per_user: Seats | None = None
    orphan_rule: OrphanRule = "AVOID"
    waiting_room: WaitingRoomMode = "OFF"
    cancellable_until: ShowTime | None = Field(None, description="The event's date if it is not given")
    refund_percent: Percent = 100

    def fields(self) -> dict[str, Any]:
        """Return the fields by name, with sections of the domain."""
        sections = None if self.sections is None else [each.to_section() for each in self.sections]
        return {**dict(self), "sections": sections}


def _absent() -> Any:
    """Default of fields that may be omitted but not null. It is never read."""
    return None


class ShowUpdate(Schema):
    """Fields of an event to change; omitted fields stay. Null lets `sale_end_time` and `cancellable_until` follow the date.

    With `sections` alone, `total_seats` is their sum. `reopen` puts a sold-out event on sale again.
    """

    event_name: Name = Field(default_factory=_absent)
    event_date: ShowTime = Field(default_factory=_absent)
    venue_name: Venue = Field(default_factory=_absent)
    total_seats: Seats = Field(default_factory=_absent)
    status: ShowStatus = Field(default_factory=_absent)
    reopen: bool = False
    sale_start_time: ShowTime | None = None
    sale_end_time: ShowTime | None = None
    time_zone: TimeZone = Field(default_factory=_absent)
    price: Annotated[Amount, Field(examples=[49.5])] = Field(default_factory=_absent)
    currency: CurrencyCode = Field(default_factory=_absent)
    description: Description | None = None
    category: Category | None = None
    sections: Sections = Field(default_factory=_absent)
    max_seats_per_user: Seats | None = None
    orphan_rule: OrphanRule = Field(default_factory=_absent)
    waiting_room: WaitingRoomMode = Field(default_factory=_absent)
    cancellable_until: ShowTime | None = None
    refund_percent: Percent = Field(default_factory=_absent)

    @classmethod
    def of_data(cls, data: dict[str, Any]) -> Self:
        """Return the changes that `data` stores."""
        return cls.model_validate_json(orjson.dumps(data))

    @property
    def data(self) -> dict[str, Any]:
        """The changes as JSON."""
        return self.model_dump(mode="json", exclude_unset=True)

    def fields(self) -> dict[str, Any]:
        """Return the given fields without the status by name, with sections of the domain."""
        found = {name: getattr(self, name) for name in self.model_fields_set - {"status", "reopen"}}
        if "sections" in found:
            found["sections"] = [each.to_section() for each in self.sections]
        return found

    @property
    def wanted_status(self) -> ShowStatus | None:
        """The status to change to, if one is given."""
        return self.status if "status" in self.model_fields_set else None


class StatusChange(Schema):
    """A change of status by hand. `reopen` puts a sold-out event on sale again."""

    status: ShowStatus
    reopen: bool = False


class SectionRead(Schema):
    name: str
    rows: int | None
    seats_per_row: int | None
    capacity: int | None
    price: Amount | None = Field(description="Null if it is the event's price")
    accessible: tuple[str, ...]


class ShowRead(Schema):
    """An event. `available_seats` counts the places that are neither held nor sold nor blocked.

    It is at most a second old, and null while the inventory cannot be reached.
    """

    event_id: ShowId
    event_name: str
    event_date: Moment
    local_time: str = Field(description="The date in the event's time zone, with its offset")
    venue_name: str
    time_zone: str
    total_seats: int
    available_seats: int | None
    status: ShowStatus
    sale_start_time: Moment | None
    sale_end_time: Moment
    price: Amount
    currency: str
    description: str | None
    category: str | None
    sections: list[SectionRead]
    max_seats_per_user: int | None
    orphan_rule: OrphanRule
    waiting_room: WaitingRoomMode
    cancellable_until: Moment
    refund_percent: int
    full_refund_until: Moment | None
    created_at: Moment
    updated_at: Moment


class RecordRead(Schema):
    """A record of the outbox: the message about a change. `processed` is true once it is published."""

    aggregate_id: str
    aggregate_type: Literal["EVENT"] = "EVENT"
    event_type: str = Field(examples=["EVENT_CREATED"])
    payload: dict[str, Any]
    processed: bool
    created_at: Moment
