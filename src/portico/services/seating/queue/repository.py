"""SQL of queues, their entries and ledgers. The queue's row is locked before its entries."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import bindparam, exists, func, insert, select, update

from portico.contracts.events import ShowId
from portico.kit import Reader, Slice, UnitOfWork, UserId, Window
from portico.kit.data import Keyset, Statement, insert_if_absent
from portico.services.seating.errors import EventNotFound
from portico.services.seating.holds.models import HoldRow
from portico.services.seating.models import Show
from portico.services.seating.queue.domain import Entry, Queue, QueueBatch, QueueState, Record, Sale, first_hash
from portico.services.seating.queue.models import LedgerRow, QueueEntry, QueueRow

QUEUES: Any = QueueRow.__table__
ENTRIES: Any = QueueEntry.__table__
LEDGER: Any = LedgerRow.__table__
SHOWS: Any = Show.__table__
HOLDS: Any = HoldRow.__table__

PERIOD: Final = timedelta(seconds=1)
"""How often a queue is processed."""
_LIVE = ("WAITING", "ADMITTED")

_SHOW_ID: Any = bindparam("show_id", type_=QUEUES.c.show_id.type)
_SALE = (SHOWS.c.status, SHOWS.c.waiting_room, SHOWS.c.sale_starts_at, SHOWS.c.sale_ends_at)
_QUEUE = [column for column in QUEUES.c if column.key not in {"is_active", "due_at"}]

SALE_OF_SHOW = Statement(
    select(SHOWS.c.show_id, *_SALE).where(SHOWS.c.show_id == _SHOW_ID, SHOWS.c.is_closed.is_(False))
)
QUEUE_OF_SHOW = Statement(select(*_QUEUE).where(QUEUES.c.show_id == _SHOW_ID))
LEFT_BEHIND = Statement(
    select(ENTRIES.c.number)
    .where(ENTRIES.c.show_id == _SHOW_ID, ENTRIES.c.status == "LEFT")
    .where(ENTRIES.c.number > bindparam("after", type_=ENTRIES.c.number.type))
    .order_by(ENTRIES.c.number)
)
ENTRY_OF_USER = Statement(
    select(*ENTRIES.c)
    .where(ENTRIES.c.show_id == _SHOW_ID, ENTRIES.c.user_id == bindparam("user_id", type_=ENTRIES.c.user_id.type))
    .where(ENTRIES.c.status.in_(_LIVE))
)
_INSERT_ENTRY, _INSERT_RECORD = Statement(insert(ENTRIES)), Statement(insert(LEDGER))
_UPDATE_ENTRY = Statement(
    update(ENTRIES)
    .where(ENTRIES.c.show_id == bindparam("of_show", type_=ENTRIES.c.show_id.type))
    .where(ENTRIES.c.number == bindparam("of_number", type_=ENTRIES.c.number.type))
    .values(
        status=bindparam("status"), admitted_at=bindparam("admitted_at"), admitted_until=bindparam("admitted_until")
    )
)
_BY_SEQUENCE = Keyset.by("sequence", LEDGER.c.sequence)


async def lock_queue(work: UnitOfWork, show_id: ShowId) -> Queue:
    """Return the queue of a show, with its row locked; insert it if there is none."""
    new = {
        "show_id": show_id,
        "last_number": 0,
        "admitted_through": 0,
        "waiting": 0,
        "shopping": 0,
        "rate": 0,
        "rated_at": work.now,
        "ledger_size": 0,
        "ledger_hash": first_hash(show_id),
        "is_active": False,
        "due_at": work.now,
    }
    locked = select(*_QUEUE).where(QUEUES.c.show_id == show_id).with_for_update()
    row = (await work.execute(locked)).first()
    if row is None:
        await insert_if_absent(work, QUEUES, new)
        row = (await work.execute(locked)).one()
    return _queue_of(row)


async def find_sale(reader: Reader, show_id: ShowId) -> Sale | None:
    """Return what a queue needs to know of its show; None if it does not exist."""
    rows = await reader.rows(SALE_OF_SHOW, {"show_id": show_id})
    return _sale_of(rows[0]) if rows else None


async def sale_of(reader: Reader, show_id: ShowId) -> Sale:
    """Return what a queue needs to know of its show. Raises EventNotFound."""
    sale = await find_sale(reader, show_id)
    if sale is None:
        raise EventNotFound(event_id=show_id)
    return sale


async def state_of(reader: Reader, show_id: ShowId) -> QueueState | None:
    """Return the state of a queue; None if no user has joined it. Raises EventNotFound."""
    sale = await sale_of(reader, show_id)
    rows = await reader.rows(QUEUE_OF_SHOW, {"show_id": show_id})
    if not rows:
        return None
    queue = _queue_of(rows[0])
    left = await reader.rows(LEFT_BEHIND, {"show_id": show_id, "after": queue.admitted_through})
    return QueueState(queue, sale, [row.number for row in left])


async def live_entries(reader: Reader, show_id: ShowId, user_ids: Collection[UserId]) -> dict[UserId, Entry]:
    """Return the live entries of these users."""
    if not user_ids:
        return {}
    found = select(*ENTRIES.c).where(
        ENTRIES.c.show_id == show_id, ENTRIES.c.user_id.in_(list(user_ids)), ENTRIES.c.status.in_(_LIVE)
    )
    return {row.user_id: _entry_of(row) for row in await reader.rows(found)}


async def find_entry(reader: Reader, show_id: ShowId, user_id: UserId) -> Entry | None:
    """Return the live entry of a user."""
    rows = await reader.rows(ENTRY_OF_USER, {"show_id": show_id, "user_id": user_id})
    return _entry_of(rows[0]) if rows else None


async def due_admissions(reader: Reader, show_id: ShowId, now: datetime) -> list[Entry]:
    """Return the admitted entries whose time is over."""
    found = select(*ENTRIES.c).where(
        ENTRIES.c.show_id == show_id, ENTRIES.c.status == "ADMITTED", ENTRIES.c.admitted_until <= now
    )
    return [_entry_of(row) for row in await reader.rows(found)]


async def oldest_waiting(reader: Reader, show_id: ShowId, limit: int) -> list[Entry]:
    """Return the entries that wait, oldest first."""
    found = (
        select(*ENTRIES.c)
        .where(ENTRIES.c.show_id == show_id, ENTRIES.c.status == "WAITING")
        .order_by(ENTRIES.c.number)
        .limit(limit)
    )
    return [_entry_of(row) for row in await reader.rows(found)]


async def admitted_among(reader: Reader, show_id: ShowId, numbers: Collection[int]) -> dict[int, Entry]:
    """Return the entries that are admitted, by number."""
    found = select(*ENTRIES.c).where(
        ENTRIES.c.show_id == show_id, ENTRIES.c.number.in_(list(numbers)), ENTRIES.c.status == "ADMITTED"
    )
    return {row.number: _entry_of(row) for row in await reader.rows(found)}


async def save_batch(work: UnitOfWork, batch: QueueBatch) -> None:
    """Write what a batch has changed."""
    show_id, new = batch.queue.show_id, {each.number for each in batch.new}
    await work.write_each(_INSERT_ENTRY, [_values(each) for each in batch.new])
    changed = [each for number, each in batch.changed.items() if number not in new]
    await work.write_each(
        _UPDATE_ENTRY,
        [
            {
                "of_show": show_id,
                "of_number": each.number,
                "status": each.status,
                "admitted_at": each.admitted_at,
                "admitted_until": each.admitted_until,
            }
            for each in changed
        ],
    )
    await work.write_each(_INSERT_RECORD, [_values(each) for each in batch.records])
    queue = _values(batch.queue)
    del queue["show_id"]
    is_active = batch.queue.waiting > 0 or batch.queue.shopping > 0
    await work.execute(
        update(QUEUES)
        .where(QUEUES.c.show_id == show_id)
        .values(**queue, is_active=is_active, due_at=batch.now + PERIOD)
    )


async def close_waiting(work: UnitOfWork, show_id: ShowId) -> int:
    """End all live entries of a show that is over. Return how many."""
    closed = await work.execute(
        update(ENTRIES)
        .where(ENTRIES.c.show_id == show_id, ENTRIES.c.status.in_(_LIVE))
        .values(status="CLOSED")
        .execution_options(synchronize_session=False)
    )
    return int(closed.rowcount)  # type: ignore[attr-defined]  # an UPDATE has a row count


async def active_queues(reader: Reader) -> Sequence[Any]:
    """Return the queues in which users wait or are admitted, with the mode of their shows."""
    found = (
        select(QUEUES.c.show_id, QUEUES.c.due_at, QUEUES.c.waiting, QUEUES.c.shopping, SHOWS.c.waiting_room)
        .join(SHOWS, SHOWS.c.show_id == QUEUES.c.show_id)
        .where(QUEUES.c.is_active.is_(True))
        .order_by(QUEUES.c.show_id)
    )
    return await reader.rows(found)


async def holders_without_admission(reader: Reader) -> dict[ShowId, int]:
    """Return how many users hold places of a show on sale in mode AUTO without being admitted, for the shows with any."""
    is_admitted = exists().where(
        ENTRIES.c.show_id == HOLDS.c.show_id, ENTRIES.c.user_id == HOLDS.c.user_id, ENTRIES.c.status == "ADMITTED"
    )
    found = (
        select(HOLDS.c.show_id, func.count(HOLDS.c.user_id.distinct()).label("holders"))
        .join(SHOWS, SHOWS.c.show_id == HOLDS.c.show_id)
        .where(SHOWS.c.waiting_room == "AUTO", SHOWS.c.status == "ON_SALE")
        .where(HOLDS.c.status.in_(("ACTIVE", "CLAIMED")), ~is_admitted)
        .group_by(HOLDS.c.show_id)
    )
    return {row.show_id: int(row.holders) for row in await reader.rows(found)}


async def ledger_page(reader: Reader, show_id: ShowId, window: Window) -> Slice[Any]:
    """Return a page of the ledger of a show, oldest first. Raises InvalidCursor."""

    async def count() -> int:
        rows = await reader.rows(QUEUE_OF_SHOW, {"show_id": show_id})
        return int(rows[0].ledger_size) if rows else 0

    return await _BY_SEQUENCE.page_of_columns(
        reader, select(*LEDGER.c).where(LEDGER.c.show_id == show_id), window, count=count
    )


def _values(row: Entry | Record | Queue) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__slots__}


def _queue_of(row: Any) -> Queue:
    return Queue(**{column.key: getattr(row, column.key) for column in _QUEUE})


def _entry_of(row: Any) -> Entry:
    return Entry(**{column.key: getattr(row, column.key) for column in ENTRIES.c})


def _sale_of(row: Any) -> Sale:
    return Sale(row.show_id, row.status, row.waiting_room, row.sale_starts_at, row.sale_ends_at)
