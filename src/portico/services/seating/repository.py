"""SQL of shows, sections, states of seats and the journal of changes. The show's row is locked before all others."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import bindparam, delete, func, insert, select

from portico.contracts.events import SectionPlan, ShowId
from portico.contracts.seating import Availability
from portico.kit import Money, Reader, UnitOfWork
from portico.kit.data import Statement, insert_if_absent
from portico.services.seating.errors import EventNotFound
from portico.services.seating.hall.layout import Layout
from portico.services.seating.hall.places import Places
from portico.services.seating.models import BLOCK_SIZE, SeatBlock, SeatChanges, Show, ShowSection

SHOWS: Any = Show.__table__
SECTIONS: Any = ShowSection.__table__
BLOCKS: Any = SeatBlock.__table__
CHANGES: Any = SeatChanges.__table__

_UNKNOWN: dict[str, Any] = {
    "event_revision": 0,
    "layout_revision": 0,
    "is_closed": True,
    "status": "UPCOMING",
    "sold_out_by_hand": False,
    "price_minor": 0,
    "currency": "USD",
    "orphan_rule": "AVOID",
    "waiting_room": "OFF",
    "version": 0,
    "layout_version": 0,
    "is_exhausted": False,
    "exhaustion_number": 0,
}
_INSERT_SECTION, _INSERT_BLOCK = map(Statement, map(insert, (SECTIONS, BLOCKS)))
_SHOW_ID: Any = bindparam("show_id", type_=SHOWS.c.show_id.type)

VERSION_OF_SHOW = Statement(
    select(SHOWS.c.version, SHOWS.c.layout_version).where(SHOWS.c.show_id == _SHOW_ID, SHOWS.c.is_closed.is_(False))
)
COUNTS_OF_SHOW = Statement(
    select(SHOWS.c.version, SHOWS.c.currency, *(column for column in SECTIONS.c if column.key != "show_id"))
    .join(SECTIONS, SECTIONS.c.show_id == SHOWS.c.show_id)
    .where(SHOWS.c.show_id == _SHOW_ID, SHOWS.c.is_closed.is_(False))
    .order_by(SECTIONS.c.number)
)
_USED = SECTIONS.c.held + SECTIONS.c.sold
_AVAILABLE = SECTIONS.c.total - _USED - SECTIONS.c.blocked


@dataclass(frozen=True, slots=True)
class SectionCounts:
    """The places of a section."""

    section: str
    price: Decimal
    currency: str
    total: int
    held: int
    sold: int
    blocked: int

    @property
    def available(self) -> int:
        return self.total - self.held - self.sold - self.blocked


@dataclass(frozen=True, slots=True)
class Inventory:
    """The places of a show. `revision` increases with each change."""

    event_id: ShowId
    revision: int
    sections: list[SectionCounts]

    @property
    def total_seats(self) -> int:
        return sum(each.total for each in self.sections)

    @property
    def available(self) -> int:
        return sum(each.available for each in self.sections)

    @property
    def held(self) -> int:
        return sum(each.held for each in self.sections)

    @property
    def sold(self) -> int:
        return sum(each.sold for each in self.sections)

    @property
    def blocked(self) -> int:
        return sum(each.blocked for each in self.sections)


async def inventory_of(reader: Reader, show_id: ShowId) -> Inventory:
    """Return the counts of a show's places. Raises EventNotFound."""
    rows = await reader.rows(COUNTS_OF_SHOW, {"show_id": show_id})
    if not rows:
        raise EventNotFound(event_id=show_id)
    sections = [
        SectionCounts(
            section=row.name,
            price=Money(row.price_minor, row.currency).amount,
            currency=row.currency,
            total=row.total,
            held=row.held,
            sold=row.sold,
            blocked=row.blocked,
        )
        for row in rows
    ]
    return Inventory(show_id, rows[0].version, sections)


async def versions_of(reader: Reader, show_id: ShowId) -> tuple[int, int]:
    """Return the version of a show's places and that of its layout. Raises EventNotFound."""
    for row in await reader.rows(VERSION_OF_SHOW, {"show_id": show_id}):
        return row.version, row.layout_version
    raise EventNotFound(event_id=show_id)


async def find_show(work: UnitOfWork, show_id: ShowId) -> Show | None:
    """Return the row of a show, locked."""
    return await work.get(Show, show_id, lock=True)


async def lock_show(work: UnitOfWork, show_id: ShowId) -> Show:
    """Return the row of a show, locked; insert it, closed, if there is none."""
    await insert_if_absent(work, SHOWS, {"show_id": show_id, **_UNKNOWN})
    show = await find_show(work, show_id)
    if show is None:
        raise LookupError(f"the row of show {show_id} has disappeared; rows of shows are never deleted")
    return show


async def sections_of(reader: Reader, show_id: ShowId) -> Sequence[Any]:
    """Return the sections of a show in the order of their numbers."""
    return await reader.rows(select(*SECTIONS.c).where(SECTIONS.c.show_id == show_id).order_by(SECTIONS.c.number))


async def load_places(reader: Reader, show: Show) -> Places:
    """Return the places of a show. Lock its row before, or read in a snapshot."""
    layout = layout_of(await sections_of(reader, show.show_id), show.currency)
    return Places.load(layout, await states_of(reader, show.show_id))


async def states_of(reader: Reader, show_id: ShowId) -> bytes:
    """Return the states of all places of a show, as `Places.load` takes them."""
    blocks = select(BLOCKS.c.states).where(BLOCKS.c.show_id == show_id).order_by(BLOCKS.c.number)
    return b"".join([row.states for row in await reader.rows(blocks)])


def layout_of(sections: Iterable[Any], currency: str) -> Layout:
    """Return the layout that these rows of `sections` store."""
    return Layout.of([_plan_of(each, currency) for each in sections])


def _plan_of(section: Any, currency: str) -> SectionPlan:
    is_standing = not section.row_count
    return SectionPlan(
        name=section.name,
        rows=None if is_standing else section.row_count,
        seats_per_row=None if is_standing else section.seats_per_row,
        capacity=section.total if is_standing else None,
        price=Money(section.price_minor, currency).amount,
        accessible=tuple(section.accessible),
    )


async def replace_sections(work: UnitOfWork, show_id: ShowId, rows: Sequence[dict[str, Any]], states: bytes) -> None:
    """Replace the sections of a show and the states of its seats."""
    for table in (SECTIONS, BLOCKS):
        await work.execute(delete(table).where(table.c.show_id == show_id))
    await work.write_each(_INSERT_SECTION, rows)
    blocks = [
        {"show_id": show_id, "number": number, "states": bytes(states[start : start + BLOCK_SIZE])}
        for number, start in enumerate(range(0, len(states), BLOCK_SIZE))
    ]
    await work.write_each(_INSERT_BLOCK, blocks)


async def availability_of(reader: Reader, show_ids: Iterable[ShowId]) -> list[Availability]:
    """Return the availability of the shows that exist, by id."""
    found = await reader.rows(
        select(SECTIONS.c.show_id, func.sum(_AVAILABLE).label("available"), func.sum(_USED).label("used"))
        .join(SHOWS, SHOWS.c.show_id == SECTIONS.c.show_id)
        .where(SECTIONS.c.show_id.in_(list(show_ids)), SHOWS.c.is_closed.is_(False))
        .group_by(SECTIONS.c.show_id)
        .order_by(SECTIONS.c.show_id)
    )
    return [Availability(event_id=row.show_id, available=int(row.available), used=int(row.used)) for row in found]


async def changes_since(reader: Reader, show_id: ShowId, version: int, limit: int) -> Sequence[Any]:
    """Return the changes of a show's places after this version, oldest first."""
    statement = (
        select(CHANGES.c.version, CHANGES.c.changes)
        .where(CHANGES.c.show_id == show_id, CHANGES.c.version > version)
        .order_by(CHANGES.c.version)
        .limit(limit)
    )
    return await reader.rows(statement)
