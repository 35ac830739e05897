"""SQL of holds, and of what a batch of requests changes in a show. The rows of shows are locked first, in order of their ids."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import bindparam, func, insert, select, update

from portico.contracts.events import ShowId
from portico.contracts.seating import HoldId
from portico.kit import Keyset, Reader, Slice, UnitOfWork, UserId, Window
from portico.kit.data import Statement, in_list
from portico.services.seating.errors import HoldNotFound
from portico.services.seating.hall.places import Places
from portico.services.seating.holds.domain import ENDED, HeldPlace, Hold, Usage
from portico.services.seating.holds.halls import Hall
from portico.services.seating.holds.locked_show import LockedShow
from portico.services.seating.holds.models import HoldRow
from portico.services.seating.models import BLOCK_SIZE
from portico.services.seating.repository import BLOCKS, CHANGES, SECTIONS, SHOWS, layout_of, sections_of, states_of

HOLDS: Any = HoldRow.__table__

T = TypeVar("T")

_COUNTS = ("held", "sold", "blocked")
_CHANGING = ("status", "places", "used", "expires_at", "booking_id", "return_keys", "changes")
_INSERT_HOLD, _INSERT_CHANGES = map(Statement, map(insert, (HOLDS, CHANGES)))
_UPDATE_HOLD = Statement(
    update(HOLDS).where(HOLDS.c.hold_id == bindparam("key")).values({name: bindparam(name) for name in _CHANGING})
)
_END_HOLDS = (
    update(HOLDS).where(in_list(HOLDS.c.hold_id, "ids")).values(status=bindparam("ended_as"), used=0, changes=1)
)
_UPDATE_SECTION = Statement(
    update(SECTIONS)
    .where(SECTIONS.c.show_id == bindparam("show"), SECTIONS.c.number == bindparam("section"))
    .values({name: bindparam(name) for name in _COUNTS})
)
_UPDATE_BLOCK = Statement(
    update(BLOCKS)
    .where(BLOCKS.c.show_id == bindparam("show"), BLOCKS.c.number == bindparam("block"))
    .values(states=bindparam("new_states"))
)
_UPDATE_SHOW = Statement(
    update(SHOWS)
    .where(SHOWS.c.show_id == bindparam("show"))
    .values({name: bindparam(name) for name in ("version", "is_exhausted", "exhaustion_number")})
)
_LOCK_SHOWS = select(*SHOWS.c).where(in_list(SHOWS.c.show_id, "ids")).order_by(SHOWS.c.show_id).with_for_update()
_SELECT_HOLDS = select(*HOLDS.c).where(in_list(HOLDS.c.hold_id, "ids"))
_SELECT_DUE = Statement(
    select(HOLDS.c.show_id, HOLDS.c.hold_id)
    .where(HOLDS.c.status == "ACTIVE", HOLDS.c.expires_at <= bindparam("now"))
    .order_by(HOLDS.c.expires_at)
    .limit(bindparam("limit"))
)
_SELECT_USAGE = (
    select(HOLDS.c.user_id, HOLDS.c.status, func.sum(HOLDS.c.used).label("used"))
    .where(
        HOLDS.c.show_id == bindparam("show"),
        in_list(HOLDS.c.user_id, "ids"),
        HOLDS.c.used > 0,
    )
    .group_by(HOLDS.c.user_id, HOLDS.c.status)
)
"""Built once, because building a statement costs more than running it."""

NEWEST = Keyset.by("newest", HOLDS.c.created_at, HOLDS.c.hold_id, descending=True)


async def lock_shows(work: UnitOfWork, show_ids: Collection[ShowId]) -> dict[ShowId, Any]:
    """Return the rows of the shows that exist among these, locked."""
    rows = await work.rows(_LOCK_SHOWS, {"ids": _padded(sorted(show_ids))})
    return {row.show_id: row for row in rows}


async def load_hall(reader: Reader, show: Any) -> Hall:
    """Return the hall of a show, whose row is locked."""
    sections = await sections_of(reader, show.show_id)
    places = Places.load(layout_of(sections, show.currency), await states_of(reader, show.show_id))
    return Hall(show.show_id, show.version, places, [each.price_minor for each in sections])


async def load_holds(reader: Reader, hold_ids: Collection[HoldId]) -> dict[HoldId, Hold]:
    """Return the holds that exist among these."""
    if not hold_ids:
        return {}
    rows = await reader.rows(_SELECT_HOLDS, {"ids": _padded(sorted(hold_ids))})
    return {row.hold_id: hold_of(row) for row in rows}


async def load_usage(reader: Reader, show_id: ShowId, user_ids: Collection[UserId]) -> dict[UserId, Usage]:
    """Return how many places of a show these users hold and have booked."""
    usage: defaultdict[UserId, Usage] = defaultdict(Usage)
    if user_ids:
        for row in await reader.rows(_SELECT_USAGE, {"show": show_id, "ids": _padded(sorted(user_ids))}):
            found = usage[row.user_id]
            name = "booked" if row.status == "SOLD" else "held"
            usage[row.user_id] = found._replace(**{name: getattr(found, name) + int(row.used)})
    return dict(usage)


async def find_hold(reader: Reader, show_id: ShowId, hold_id: HoldId, user_id: UserId) -> Hold:
    """Return a hold of a user. Raises HoldNotFound."""
    statement = select(*HOLDS.c).where(
        HOLDS.c.hold_id == hold_id, HOLDS.c.show_id == show_id, HOLDS.c.user_id == user_id
    )
    for row in await reader.rows(statement):
        return hold_of(row)
    raise HoldNotFound(hold_id=hold_id)


async def list_holds(reader: Reader, show_id: ShowId, user_id: UserId, window: Window) -> Slice[Hold]:
    """Return a page of a user's holds of a show, newest first. Raises InvalidCursor."""
    of_user = select(*HOLDS.c).where(HOLDS.c.show_id == show_id, HOLDS.c.user_id == user_id)
    found = await NEWEST.page_of_columns(reader, of_user, window)
    return found.with_rows([hold_of(row) for row in found.rows])


async def rows_with_places(reader: Reader, show_id: ShowId) -> Sequence[Any]:
    """Return the rows of the holds of a show whose places are held or sold."""
    return await reader.rows(select(*HOLDS.c).where(HOLDS.c.show_id == show_id, HOLDS.c.used > 0))


async def due_holds(reader: Reader, now: datetime, limit: int) -> dict[ShowId, list[HoldId]]:
    """Return active holds whose time is over, the oldest first, by show."""
    found: defaultdict[ShowId, list[HoldId]] = defaultdict(list)
    for row in await reader.rows(_SELECT_DUE, {"now": now, "limit": limit}):
        found[row.show_id].append(row.hold_id)
    return dict(found)


async def next_end(reader: Reader) -> datetime | None:
    """Return when the next active hold ends."""
    statement = select(func.min(HOLDS.c.expires_at).label("end")).where(HOLDS.c.status == "ACTIVE")
    [row] = await reader.rows(statement)
    end: datetime | None = row.end
    return end


async def end_holds_of_show(work: UnitOfWork, show_id: ShowId) -> None:
    """End the time of all active holds of a show. The row of the show is locked."""
    await work.execute(
        update(HOLDS)
        .where(HOLDS.c.show_id == show_id, HOLDS.c.status == "ACTIVE", HOLDS.c.expires_at > work.now)
        .values(expires_at=work.now)
    )


async def save_holds(work: UnitOfWork, holds: Iterable[Hold]) -> None:
    """Write the changed holds. One statement writes all those whose only change ever is that they have ended."""
    changed = [each for each in holds if each.changed]
    await work.write_each(_INSERT_HOLD, [_new_row(each) for each in changed if not each.known])
    known = [each for each in changed if each.known]
    ended = [each for each in known if each.status in ENDED and each.changes == 1]
    for status in sorted({each.status for each in ended}):
        ids = sorted(each.hold_id for each in ended if each.status == status)
        await work.execute(_END_HOLDS, {"ended_as": status, "ids": _padded(ids)})
    others = [each for each in known if each.status not in ENDED or each.changes != 1]
    await work.write_each(_UPDATE_HOLD, [_changed_row(each) for each in others])


async def save_show(work: UnitOfWork, show: LockedShow, version: int) -> None:
    """Write the changed places of a show, their counts and the journal."""
    await work.write_each(_UPDATE_BLOCK, _changed_blocks(show))
    await work.write_each(_UPDATE_SECTION, _changed_sections(show))
    journal = [
        {
            "show_id": show.show_id,
            "version": version,
            "part": part,
            "changes": [list(each) for each in changes],
            "changed_at": work.now,
        }
        for part, changes in sorted(show.journal.items())
    ]
    await work.write_each(_INSERT_CHANGES, journal)
    values = {
        "show": show.show_id,
        "version": version,
        "is_exhausted": show.is_exhausted,
        "exhaustion_number": show.exhaustion_number,
    }
    await work.write(_UPDATE_SHOW, values)


def _changed_blocks(show: LockedShow) -> list[dict[str, Any]]:
    layout, states = show.places.layout, show.places.dump()
    numbers = {index // BLOCK_SIZE for index in show.changed_seats}
    if any(layout.sections[number - 1].is_standing for number in show.changed_sections):
        numbers.update(range(layout.size // BLOCK_SIZE, -(-len(states) // BLOCK_SIZE)))
    return [
        {"show": show.show_id, "block": number, "new_states": states[number * BLOCK_SIZE : (number + 1) * BLOCK_SIZE]}
        for number in sorted(numbers)
    ]


def _changed_sections(show: LockedShow) -> list[dict[str, Any]]:
    sections = []
    for number in sorted(show.changed_sections):
        counts = show.places.counts(show.places.layout.sections[number - 1])
        values = {"held": counts.held, "sold": counts.sold, "blocked": counts.blocked}
        sections.append({"show": show.show_id, "section": number, **values})
    return sections


def hold_of(row: Any) -> Hold:
    """Return the hold that a row of `holds` stores."""
    return Hold(
        hold_id=row.hold_id,
        show_id=row.show_id,
        user_id=row.user_id,
        status=row.status,
        places=[HeldPlace(*each) for each in row.places],
        discount=row.discount,
        currency=row.currency,
        is_adjacent=row.is_adjacent,
        expires_at=row.expires_at,
        created_at=row.created_at,
        booking_id=row.booking_id,
        return_keys=list(row.return_keys),
        code_key=row.code_key,
        changes=row.changes,
        entry_id=row.entry_id,
    )


def _changed_values(hold: Hold) -> dict[str, Any]:
    return {
        "status": hold.status,
        "places": [list(each) for each in hold.places],
        "used": hold.used,
        "expires_at": hold.expires_at,
        "booking_id": hold.booking_id,
        "return_keys": hold.return_keys,
        "changes": hold.changes,
    }


def _changed_row(hold: Hold) -> Mapping[str, Any]:
    return {"key": hold.hold_id, **_changed_values(hold)}


def _new_row(hold: Hold) -> Mapping[str, Any]:
    return {
        "hold_id": hold.hold_id,
        "show_id": hold.show_id,
        "user_id": hold.user_id,
        "discount": hold.discount,
        "currency": hold.currency,
        "is_adjacent": hold.is_adjacent,
        "created_at": hold.created_at,
        "entry_id": hold.entry_id,
        "code_key": hold.code_key,
        **_changed_values(hold),
    }


def _padded(values: list[T]) -> list[T]:
    """Return `values` padded to a power of two by repeating the last one.

    Each list length needs a prepared statement of its own; padding leaves a dozen.
    """
    return values + values[-1:] * ((1 << (len(values) - 1).bit_length()) - len(values))
