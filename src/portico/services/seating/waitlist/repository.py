"""SQL of the waiting lists. The row of the show is locked before an entry is changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, func, insert, select, update

from portico.contracts.events import ShowId
from portico.contracts.seating import HoldId, WaitlistEntryId
from portico.kit import Keyset, Reader, Slice, UnitOfWork, UserId, Window
from portico.kit.data import Statement
from portico.services.seating.errors import WaitlistEntryNotFound
from portico.services.seating.holds.repository import HOLDS
from portico.services.seating.waitlist.models import WaitlistEntry, WaitlistStatus

ENTRIES: Any = WaitlistEntry.__table__
ACTIVE: Final = frozenset[WaitlistStatus]({"WAITING", "OFFERED"})
"""Statuses in which a user has a place in the list."""

_MAX_QUANTITY: Final = 2**31 - 1
_NUMBERS = Keyset.by("number", ENTRIES.c.number)
_WITH_HOLDS = select(*ENTRIES.c, HOLDS.c.expires_at).select_from(
    ENTRIES.outerjoin(HOLDS, HOLDS.c.hold_id == ENTRIES.c.hold_id)
)
_NEWEST_OF_USER = (
    _WITH_HOLDS.where(ENTRIES.c.show_id == bindparam("show"), ENTRIES.c.user_id == bindparam("user"))
    .order_by(ENTRIES.c.number.desc())
    .limit(1)
)
_WAITING = (
    select(ENTRIES.c.entry_id, ENTRIES.c.number, ENTRIES.c.user_id, ENTRIES.c.quantity)
    .where(
        ENTRIES.c.show_id == bindparam("show"),
        ENTRIES.c.status == "WAITING",
        ENTRIES.c.number > bindparam("after"),
        ENTRIES.c.quantity <= bindparam("max_quantity"),
    )
    .order_by(ENTRIES.c.number)
    .limit(bindparam("limit"))
)
_AHEAD = (
    select(func.count())
    .select_from(ENTRIES)
    .where(
        ENTRIES.c.show_id == bindparam("show"), ENTRIES.c.status == "WAITING", ENTRIES.c.number < bindparam("number")
    )
)
_INSERT = Statement(insert(ENTRIES))
_CHANGE = Statement(
    update(ENTRIES)
    .where(ENTRIES.c.entry_id == bindparam("key"), ENTRIES.c.status == bindparam("before"))
    .values(status=bindparam("after"))
)
_OFFER = Statement(
    update(ENTRIES).where(ENTRIES.c.entry_id == bindparam("key")).values(status="OFFERED", hold_id=bindparam("hold"))
)
"""Built once, because building a statement costs more than running it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry with the end of its offer. `position` is None unless it is WAITING."""

    entry_id: WaitlistEntryId
    event_id: ShowId
    number: int
    user_id: UserId
    quantity: int
    status: WaitlistStatus
    hold_id: HoldId | None
    expires_at: datetime | None
    joined_at: datetime
    position: int | None = None


async def newest_entry(reader: Reader, show_id: ShowId, user_id: UserId) -> Entry | None:
    """Return the newest entry of a user."""
    for row in await reader.rows(_NEWEST_OF_USER, {"show": show_id, "user": user_id}):
        entry = _entry_of(row)
        if entry.status != "WAITING":
            return entry
        return replace(entry, position=1 + await _count_ahead(reader, show_id, entry.number))
    return None


async def get_newest_entry(reader: Reader, show_id: ShowId, user_id: UserId) -> Entry:
    """Return the newest entry of a user. Raises WaitlistEntryNotFound."""
    entry = await newest_entry(reader, show_id, user_id)
    if entry is None:
        raise WaitlistEntryNotFound
    return entry


async def has_waiting(reader: Reader, show_id: ShowId) -> bool:
    """Return whether a party waits for places of a show."""
    return bool(await waiting_entries(reader, show_id, after=0, max_quantity=_MAX_QUANTITY, limit=1))


async def list_entries(reader: Reader, show_id: ShowId, window: Window) -> Slice[Entry]:
    """Return a page of all entries of a show, the oldest first. Raises InvalidCursor."""
    found = await _NUMBERS.page_of_columns(reader, _WITH_HOLDS.where(ENTRIES.c.show_id == show_id), window)
    entries = [_entry_of(row) for row in found.rows]
    position = await _count_ahead(reader, show_id, entries[0].number) if entries else 0
    ranked = []
    for entry in entries:
        if entry.status == "WAITING":
            position += 1
            ranked.append(replace(entry, position=position))
        else:
            ranked.append(entry)
    return found.with_rows(ranked)


async def waiting_entries(
    reader: Reader, show_id: ShowId, *, after: int, max_quantity: int, limit: int
) -> Sequence[Any]:
    """Return the oldest waiting entries after a number that want at most `max_quantity` places."""
    return await reader.rows(_WAITING, {"show": show_id, "after": after, "max_quantity": max_quantity, "limit": limit})


async def insert_entry(
    work: UnitOfWork, show_id: ShowId, user_id: UserId, quantity: int, *, entry_id: WaitlistEntryId
) -> None:
    """Insert a waiting entry at the end of a show's list. The row of the show is locked."""
    [(last,)] = await work.rows(select(func.max(ENTRIES.c.number)).where(ENTRIES.c.show_id == show_id))
    values: Mapping[str, Any] = {
        "entry_id": entry_id,
        "show_id": show_id,
        "number": (last or 0) + 1,
        "user_id": user_id,
        "quantity": quantity,
        "status": "WAITING",
        "hold_id": None,
        "joined_at": work.now,
    }
    await work.write(_INSERT, values)


async def mark_offered(work: UnitOfWork, entry_id: WaitlistEntryId, hold_id: HoldId) -> None:
    """Store that an entry has an offer."""
    await work.write(_OFFER, {"key": entry_id, "hold": hold_id})


async def change_status(
    work: UnitOfWork, entry_id: WaitlistEntryId, before: WaitlistStatus, after: WaitlistStatus
) -> bool:
    """Change the status of an entry. Return whether it had the status `before`."""
    return await work.write(_CHANGE, {"key": entry_id, "before": before, "after": after}) > 0


async def end_list(work: UnitOfWork, show_id: ShowId) -> None:
    """Let all waiting entries of a show lapse."""
    await work.execute(
        update(ENTRIES).where(ENTRIES.c.show_id == show_id, ENTRIES.c.status == "WAITING").values(status="LAPSED")
    )


async def _count_ahead(reader: Reader, show_id: ShowId, number: int) -> int:
    [(count,)] = await reader.rows(_AHEAD, {"show": show_id, "number": number})
    return int(count)


def _entry_of(row: Any) -> Entry:
    return Entry(
        entry_id=row.entry_id,
        event_id=row.show_id,
        number=row.number,
        user_id=row.user_id,
        quantity=row.quantity,
        status=row.status,
        hold_id=row.hold_id,
        expires_at=row.expires_at,
        joined_at=row.joined_at,
    )
