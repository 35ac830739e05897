"""The event log: what a service has published, to be read, followed and published again."""

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

LARGEST_PAGE = 1000
_LOOK_BACK = 1000  # numbers behind the highest seen that are looked at again: a lower one may be committed later
_MOST_NEWS = 3 * _LOOK_BACK  # more than are looked at again, so that each look gets ahead


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """An event that was published. `number` is its place in the log; `body` its CloudEvent as JSON."""

    number: int
    event_id: str
    type: str
    aggregate: str
    body: str
    occurred_at: datetime

    @property
    def envelope(self) -> Envelope:
        """All that is said of it. Raises NotAnEvent."""
        return Envelope.loaded(self.body)


_COLUMNS = [event_log.c.id if name == "number" else event_log.c[name] for name in LoggedEvent.__dataclass_fields__]
_KEPT = ("event_id", "type", "aggregate", "body", "occurred_at")


@dataclass(frozen=True, slots=True)
class Selection:
    """Which events: those that meet all that is given; all of them by default.

    Args:
        event_ids: their own.
        types: of one of these types.
        aggregate: what they are about.
        since: occurred then or later.
        until: occurred before.
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
    """What one service has published, in its database."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def page(
        self, selection: Selection, *, limit: int = 100, after: int = 0, last: int | None = None
    ) -> list[LoggedEvent]:
        """At most `limit` (LARGEST_PAGE), the oldest first, those with a number beyond `after`, and not beyond `last`."""
        chosen = _ordered(selection).where(event_log.c.id > after)
        if last is not None:
            chosen = chosen.where(event_log.c.id <= last)
        return await self._read(chosen.limit(min(limit, LARGEST_PAGE)))

    async def newest(self, selection: Selection, *, limit: int = 100) -> list[LoggedEvent]:
        """The last `limit` (LARGEST_PAGE), the oldest of them first."""
        backwards = select(*_COLUMNS).where(*selection.conditions()).order_by(event_log.c.id.desc())
        return (await self._read(backwards.limit(min(limit, LARGEST_PAGE))))[::-1]

    async def count(self, selection: Selection) -> int:
        """How many there are."""
        counted = select(func.count()).select_from(event_log).where(*selection.conditions())
        async with Reader(self._database, self._clock) as reader:
            return await reader.one(counted) or 0

    async def publish_again(self, selection: Selection) -> int:
        """Put events back into the outbox, in their order: every service is delivered them again; how many they are.

        A service that has handled one does nothing, so this is for those that have not.
        """
        last = await self.last()  # what is published again comes back with a higher number

        async def batch(after: int, work: UnitOfWork) -> Sequence[int]:
            chosen = _ordered(selection).where(event_log.c.id > after, event_log.c.id <= last)
            rows = (await work.execute(chosen.limit(BATCH).with_for_update())).all()
            if rows:
                await work.execute(insert(outbox), [{name: getattr(row, name) for name in _KEPT} for row in rows])
                await work.execute(delete(event_log).where(event_log.c.id.in_([row.id for row in rows])))
            return [row.id for row in rows]

        return await in_batches(self._database, self._clock, batch)

    async def last(self) -> int:
        """The highest number; 0 where nothing was published yet."""
        async with Reader(self._database, self._clock) as reader:
            return await reader.one(select(func.max(event_log.c.id))) or 0

    async def follow(self, selection: Selection) -> "Follower":
        """Follow what is published from now on."""
        follower = Follower(self, selection, await self.last())
        await follower.news()
        return follower

    async def waiting(self) -> list[int]:
        """The numbers of events that are not published yet, the lowest thousand of them."""
        async with Reader(self._database, self._clock) as reader:
            return list(await reader.all(select(outbox.c.id).order_by(outbox.c.id).limit(_LOOK_BACK)))

    async def numbers(self, selection: Selection, after: int, others: set[int]) -> set[int]:
        """The numbers of events beyond `after`, and those of `others` that are in the log, a bounded number of them."""
        wanted = or_(event_log.c.id > after, event_log.c.id.in_(others))
        chosen = _ordered(selection).where(wanted).limit(_MOST_NEWS).with_only_columns(event_log.c.id)
        async with Reader(self._database, self._clock) as reader:
            return {row.id for row in await reader.rows(chosen)}

    async def of_numbers(self, numbers: set[int]) -> list[LoggedEvent]:
        """The events with these numbers, in their order."""
        return await self._read(_ordered(Selection()).where(event_log.c.id.in_(numbers)))

    async def _read(self, statement: Select[Any]) -> list[LoggedEvent]:
        async with Reader(self._database, self._clock) as reader:
            return [LoggedEvent(*row) for row in await reader.rows(statement)]


class Follower:
    """Follows a log whose numbers do not come in order.

    A transaction may commit after another one with a higher number, and what the broker refused for a while is logged
    long after what came later. So a few numbers are looked at again, and those seen waiting in the outbox are awaited.
    """

    def __init__(self, log: EventLog, selection: Selection, last: int) -> None:
        self._log = log
        self._selection = selection
        self._last = last
        self._awaited: set[int] = set()
        self._seen: set[int] = set()

    async def news(self) -> list[LoggedEvent]:
        """What was published since the last time."""
        waiting, last = set(await self._log.waiting()), await self._log.last()
        found = await self._log.numbers(self._selection, self._last - _LOOK_BACK, self._awaited | waiting)
        news = found - self._seen
        self._awaited = waiting
        if len(found) == _MOST_NEWS:
            last = max(found)  # there are more
        self._last = max(self._last, last)
        self._seen = {each for each in self._seen | news if each > self._last - _LOOK_BACK or each in waiting}
        return await self._log.of_numbers(news) if news else []


def _ordered(selection: Selection) -> Select[Any]:
    return select(*_COLUMNS).where(*selection.conditions()).order_by(event_log.c.id)
