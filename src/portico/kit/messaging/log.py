"""Event log: the published events of a service, to read, follow and publish again."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, delete, func, insert, or_, select

from portico.kit.data.engine import Database
from portico.kit.data.kit_tables import event_log, outbox
from portico.kit.data.reader import Reader
from portico.kit.data.unit_of_work import UnitOfWork
from portico.kit.foundation.clock import Clock
from portico.kit.messaging.batches import BATCH, in_batches
from portico.kit.messaging.envelope import Envelope

MAX_PAGE_SIZE = 1000
_LOOK_BACK = 1000  # how many of the last numbers are read again, because a lower number may be committed later
_MAX_NEW_EVENTS = 3 * _LOOK_BACK  # larger than _LOOK_BACK, so that each read makes progress


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """A published event. `number` is its position in the log, `body` its CloudEvent as JSON."""

    number: int
    event_id: str
    type: str
    aggregate: str
    body: str
    occurred_at: datetime

    @property
    def envelope(self) -> Envelope:
        """The event with its metadata. Raises NotAnEvent."""
        return Envelope.parse(self.body)


_COLUMNS = [event_log.c.id if name == "number" else event_log.c[name] for name in LoggedEvent.__dataclass_fields__]
_REPUBLISHED_COLUMNS = ("event_id", "type", "aggregate", "body", "occurred_at")


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Filter for events. It selects those that match all given fields; the default selects all.

    Args:
        event_ids: their ids.
        types: their types.
        aggregate: id of the aggregate that they concern.
        since: occurred at this time or later.
        until: occurred before this time.
    """

    event_ids: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    aggregate: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        found: list[ColumnElement[bool]] = []
        if self.event_ids:
            found.append(event_log.c.event_id.in_(self.event_ids))
        if self.types:
            found.append(event_log.c.type.in_(self.types))
        if self.aggregate is not None:
            found.append(event_log.c.aggregate == self.aggregate)
        if self.since is not None:
            found.append(event_log.c.occurred_at >= self.since)
        if self.until is not None:
            found.append(event_log.c.occurred_at < self.until)
        return found


class EventLog:
    """Published events of one service, in its database."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def page(
        self, selection: EventFilter, *, limit: int = 100, after: int = 0, last: int | None = None
    ) -> list[LoggedEvent]:
        """Return a page of matching events, oldest first.

        Args:
            selection: which events.
            limit: maximum number of events, at most MAX_PAGE_SIZE.
            after: the events have higher numbers.
            last: the highest number to return; None for no limit.
        """
        chosen = _ordered(selection).where(event_log.c.id > after)
        if last is not None:
            chosen = chosen.where(event_log.c.id <= last)
        return await self._read(chosen.limit(min(limit, MAX_PAGE_SIZE)))

    async def newest(self, selection: EventFilter, *, limit: int = 100) -> list[LoggedEvent]:
        """Return the newest `limit` (MAX_PAGE_SIZE) events, oldest first."""
        backwards = select(*_COLUMNS).where(*selection.conditions()).order_by(event_log.c.id.desc())
        return (await self._read(backwards.limit(min(limit, MAX_PAGE_SIZE))))[::-1]

    async def count(self, selection: EventFilter) -> int:
        """Return the number of matching events."""
        counted = select(func.count()).select_from(event_log).where(*selection.conditions())
        async with Reader(self._database, self._clock) as reader:
            return await reader.one(counted) or 0

    async def publish_again(self, selection: EventFilter) -> int:
        """Move events back to the outbox, in order, and return how many. Every service receives them again.

        A service that has already handled an event ignores it. Services that missed it handle it now.
        """
        last = await self.last()  # events published again get a higher number

        async def batch(after: int, work: UnitOfWork) -> Sequence[int]:
            chosen = _ordered(selection).where(event_log.c.id > after, event_log.c.id <= last)
            rows = (await work.execute(chosen.limit(BATCH).with_for_update())).all()
            if rows:
                await work.execute(
                    insert(outbox), [{name: getattr(row, name) for name in _REPUBLISHED_COLUMNS} for row in rows]
                )
                await work.execute(delete(event_log).where(event_log.c.id.in_([row.id for row in rows])))
            return [row.id for row in rows]

        return await in_batches(self._database, self._clock, batch)

    async def last(self) -> int:
        """Return the highest number; 0 if nothing was published yet."""
        async with Reader(self._database, self._clock) as reader:
            return await reader.one(select(func.max(event_log.c.id))) or 0

    async def follow(self, selection: EventFilter) -> "Follower":
        """Return a follower of events published from now on."""
        follower = Follower(self, selection, await self.last())
        await follower.new_events()
        return follower

    async def waiting(self) -> list[int]:
        """Return the numbers of unpublished events, at most the lowest thousand."""
        async with Reader(self._database, self._clock) as reader:
            return list(await reader.all(select(outbox.c.id).order_by(outbox.c.id).limit(_LOOK_BACK)))

    async def numbers(self, selection: EventFilter, after: int, others: set[int]) -> set[int]:
        """Return the numbers of matching events above `after`, and those of `others` that are in the log. Bounded."""
        wanted = or_(event_log.c.id > after, event_log.c.id.in_(others))
        chosen = _ordered(selection).where(wanted).limit(_MAX_NEW_EVENTS).with_only_columns(event_log.c.id)
        async with Reader(self._database, self._clock) as reader:
            return {row.id for row in await reader.rows(chosen)}

    async def of_numbers(self, numbers: set[int]) -> list[LoggedEvent]:
        """Return the events with these numbers, in order."""
        return await self._read(_ordered(EventFilter()).where(event_log.c.id.in_(numbers)))

    async def _read(self, statement: Select[Any]) -> list[LoggedEvent]:
        async with Reader(self._database, self._clock) as reader:
            return [LoggedEvent(*row) for row in await reader.rows(statement)]


class Follower:
    """Follows a log whose numbers do not appear in order.

    A transaction may commit after another one with a higher number. An event that the broker rejected for a while is
    logged after later events. Therefore each call reads the last numbers again, and remembers unpublished numbers until
    they appear.
    """

    def __init__(self, log: EventLog, selection: EventFilter, last: int) -> None:
        self._log = log
        self._selection = selection
        self._last = last
        self._awaited: set[int] = set()
        self._seen: set[int] = set()

    async def new_events(self) -> list[LoggedEvent]:
        """Return the events published since the last call."""
        waiting, last = set(await self._log.waiting()), await self._log.last()
        found = await self._log.numbers(self._selection, self._last - _LOOK_BACK, self._awaited | waiting)
        new_events = found - self._seen
        self._awaited = waiting
        if len(found) == _MAX_NEW_EVENTS:
            last = max(found)  # there are more
        self._last = max(self._last, last)
        self._seen = {each for each in self._seen | new_events if each > self._last - _LOOK_BACK or each in waiting}
        return await self._log.of_numbers(new_events) if new_events else []


def _ordered(selection: EventFilter) -> Select[Any]:
    return select(*_COLUMNS).where(*selection.conditions()).order_by(event_log.c.id)
