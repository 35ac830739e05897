"""SQL of shows and of the records of their changes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final, cast

import orjson
from sqlalchemy import ColumnElement, and_, bindparam, false, func, literal, or_, select, union_all

from portico.contracts.events import ShowId, ShowStatus
from portico.kit import Keyset, Reader, Repository, Slice, Window
from portico.kit.data import event_log, outbox
from portico.services.events.domain import FIRST_TIME, FURTHEST_ZONE, LAST_TIME, word_patterns
from portico.services.events.errors import ShowNotFound
from portico.services.events.models import PlannedChange, Show, category_key

_SALE_END: Final = func.coalesce(Show.sale_ends_at, Show.event_date)
BY_DATE: Final = Keyset.by("date", Show.event_date, Show.event_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowFilter:
    """Which shows are listed.

    starts_from, starts_before: bounds of the instant; the second one is excluded.
    first_date, last_date: bounds of the date in the show's own time zone, both included (YYYY-MM-DD).
    venue: words that the venue has.
    """

    status: ShowStatus | None = None
    category: str | None = None
    venue: str | None = None
    starts_from: datetime | None = None
    starts_before: datetime | None = None
    first_date: date | None = None
    last_date: date | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the conditions for the shows."""
        found: list[ColumnElement[bool]] = []
        if self.status is not None:
            found.append(Show.status == self.status)
        if self.category is not None:
            found.append(Show.category_key == category_key(self.category))
        if self.venue is not None:
            patterns = word_patterns(self.venue)
            found += [Show.venue_words.like(each) for each in patterns] or [false()]
        if self.starts_from is not None:
            found.append(Show.event_date >= self.starts_from)
        if self.starts_before is not None:
            found.append(Show.event_date < self.starts_before)
        # The bounds of the instant hold in every zone; an index can seek to them.
        if self.first_date is not None:
            found.append(Show.local_date >= self.first_date.isoformat())
            found.append(Show.event_date >= _midnight(self.first_date) - FURTHEST_ZONE)
        if self.last_date is not None:
            found.append(Show.local_date <= self.last_date.isoformat())
            found.append(Show.event_date < _midnight(self.last_date) + timedelta(days=1) + FURTHEST_ZONE)
        return found


def _midnight(day: date) -> datetime:
    """Return the beginning of a day in UTC, within the times that shows can have."""
    return datetime.combine(min(max(day, FIRST_TIME.date()), LAST_TIME.date()), time(), UTC)


class Shows(Repository[Show]):
    """The shows, by date."""

    model, not_found, order = Show, ShowNotFound, BY_DATE

    async def list_shows(self, chosen: ShowFilter, window: Window) -> Slice[Show]:
        """Return a page of the shows that match, by date. Raises InvalidCursor."""
        return await self.page(window, *chosen.conditions())

    async def due(self, now: datetime, *, limit: int) -> Sequence[ShowId]:
        """Return shows whose status changes by itself now, most overdue first."""
        is_due = or_(
            and_(Show.open_at <= now, Show.status == "UPCOMING", now < _SALE_END),
            Show.complete_at <= now,
        )
        statement = select(Show.event_id).where(is_due).order_by(Show.event_id).limit(limit)
        return await self.source.all(statement)

    async def lock_all(self, show_ids: Sequence[ShowId]) -> Sequence[Show]:
        """Return these shows, locked in order of id, so that two callers cannot deadlock."""
        statement = select(Show).where(Show.event_id.in_(show_ids)).order_by(Show.event_id).with_for_update()
        return await self.work.all(statement.execution_options(populate_existing=True))

    async def next_due_at(self, now: datetime) -> datetime | None:
        """Return when the next status changes by itself; None if none does."""
        times = union_all(
            select(func.min(Show.open_at).label("at")).where(Show.open_at > now),
            select(func.min(Show.complete_at).label("at")).where(Show.complete_at > now),
        ).subquery()
        return await self.source.one(select(func.min(times.c.at)))

    async def exists(self, show_id: ShowId) -> bool:
        """Whether the show exists."""
        return await self.source.one(select(Show.event_id).where(Show.event_id == show_id)) is not None


class PlannedChanges:
    """The changes that are planned and not made yet, one for each show."""

    def __init__(self, source: Reader) -> None:
        self.source = source

    async def find(self, show_id: ShowId, *, lock: bool = False) -> PlannedChange | None:
        """Return the planned change of a show. Who locked the show need not lock it."""
        return await self.source.get(PlannedChange, show_id, lock=lock)

    async def planned_before(self, moment: datetime, *, limit: int) -> Sequence[ShowId]:
        """Return the shows with a change that was planned before this time, oldest first."""
        statement = select(PlannedChange.event_id).where(PlannedChange.planned_at <= moment)
        return await self.source.all(statement.order_by(PlannedChange.planned_at).limit(limit))


@dataclass(frozen=True, slots=True)
class Record:
    """A record of the outbox: the message about a change of a show. `processed` is true once it is published."""

    aggregate_id: str
    event_type: str
    payload: dict[str, Any]
    processed: bool
    created_at: datetime


_COLUMNS: Final = ("id", "type", "aggregate", "body", "occurred_at")
# One statement sees one snapshot, so a record that the relay moves meanwhile is found once.
_RECORDS: Final = union_all(
    *(
        select(*(table.c[name] for name in _COLUMNS), literal(is_processed).label("processed")).where(
            table.c.aggregate == bindparam("of_show", type_=table.c.aggregate.type)
        )
        for table, is_processed in ((outbox, False), (event_log, True))
    )
).subquery("records")
_OLDEST_FIRST: Final = Keyset.by("oldest", cast("Any", _RECORDS.c.id))


async def records_of(reader: Reader, show_id: ShowId, window: Window) -> Slice[Record]:
    """Return a page of the records of a show, oldest first.

    Records of a deleted show are kept as long as others: for `EVENT_RETENTION` after they were published.

    Raises:
        ShowNotFound: the show does not exist, and it has no record.
        InvalidCursor: the cursor belongs to another list.
    """
    statement = select(_RECORDS).params(of_show=str(int(show_id)))
    found = await _OLDEST_FIRST.page_of_columns(reader, statement, window)
    if not found.rows and not found.total and not await Shows(reader).exists(show_id):
        raise ShowNotFound(event_id=show_id)
    records = [
        Record(
            aggregate_id=row.aggregate,
            event_type=row.type.replace(".", "_").upper(),
            payload=orjson.loads(row.body)["data"],
            processed=bool(row.processed),
            created_at=row.occurred_at,
        )
        for row in found.rows
    ]
    return found.with_rows(records)
