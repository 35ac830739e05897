"""Dead letters: events that a consumer could not handle or that the broker rejected.

An operator inspects, replays or discards them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Select, delete, func, select, update

from portico.kit.data.engine import Database
from portico.kit.data.kit_tables import failed_events, inbox
from portico.kit.data.reader import Reader
from portico.kit.data.unit_of_work import UnitOfWork
from portico.kit.data.upsert import insert_or_ignore
from portico.kit.foundation.clock import Clock
from portico.kit.messaging.batches import BATCH, in_batches
from portico.kit.messaging.publish_failures import publish_again
from portico.kit.messaging.retry_queue import CHANGE_SUBJECT, Kind, State
from portico.kit.telemetry.logs import get_logger

logger = get_logger(__name__)

MAX_PAGE_SIZE = 1001
"""One more than the maximum page size of callers, so that a caller can tell whether there are more."""


class DeadLetterNotFound(LookupError):
    """There is no dead letter with this number: it was replayed or discarded, or never existed."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that a consumer could not handle or that the broker rejected.

    Args:
        number: identifies it within its service.
        kind: whether its consumer failed, it was unreadable, or the broker rejected it.
        consumer: the consumer that failed; empty for the other kinds.
        event_id: id of the event.
        type: type of the event.
        aggregate: id of the aggregate that the event concerns.
        body: the message as received: a CloudEvent, unless it is unreadable.
        state: `dead`, or `waiting` while retries are left.
        attempts: number of attempts so far.
        next_at: time of the next attempt, if it waits.
        cause: a problem's code or an exception's name.
        error: the error message.
        failed_at: time of the first failure.
    """

    number: int
    kind: Kind
    consumer: str
    event_id: str
    type: str
    aggregate: str
    body: str
    state: State
    attempts: int
    next_at: datetime
    cause: str
    error: str
    failed_at: datetime


_COLUMNS = [
    failed_events.c.id if name == "number" else failed_events.c[name] for name in DeadLetter.__dataclass_fields__
]


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Filter for dead letters. It selects those that match all given fields; the default selects all.

    Args:
        numbers: their numbers within the service.
        kind: why they failed.
        consumer: the consumer that failed.
        type: type of the event.
        cause: a problem's code or an exception's name.
        aggregate: id of the aggregate that the event concerns.
        since: failed at this time or later.
        state: `waiting` selects events that are not dead yet.
    """

    numbers: tuple[int, ...] = ()
    kind: Kind | None = None
    consumer: str | None = None
    type: str | None = None
    cause: str | None = None
    aggregate: str | None = None
    since: datetime | None = None
    state: State = "dead"

    def conditions(self) -> list[ColumnElement[bool]]:
        given = {
            "kind": self.kind,
            "consumer": self.consumer,
            "type": self.type,
            "cause": self.cause,
            "aggregate": self.aggregate,
        }
        found = [failed_events.c[name] == value for name, value in given.items() if value is not None]
        if self.numbers:
            found.append(failed_events.c.id.in_(self.numbers))
        if self.since is not None:
            found.append(failed_events.c.failed_at >= self.since)
        return [failed_events.c.state == self.state, *found]


class DeadLetters:
    """Dead letters of one service, in its database.

    Args:
        service: name of the service, for the log.
        database: its database.
        clock: the current time.
    """

    def __init__(self, service: str, database: Database, clock: Clock) -> None:
        self._service = service
        self._database = database
        self._clock = clock

    async def page(self, choice: DeadLetterFilter, *, limit: int = 100, after: int = 0) -> list[DeadLetter]:
        """Return at most `limit` (MAX_PAGE_SIZE) dead letters with a number above `after`, oldest first."""
        chosen = _after(after, choice).limit(min(limit, MAX_PAGE_SIZE))
        async with Reader(self._database, self._clock) as reader:
            return [DeadLetter(*row) for row in await reader.rows(chosen.with_only_columns(*_COLUMNS))]

    async def count(self, choice: DeadLetterFilter) -> int:
        """Return the number of matching dead letters."""
        counted = select(func.count()).select_from(failed_events).where(*choice.conditions())
        async with Reader(self._database, self._clock) as reader:
            return await reader.one(counted) or 0

    async def get(self, number: int) -> DeadLetter:
        """Return a dead letter, or an event that still waits for a retry. Raises DeadLetterNotFound."""
        async with Reader(self._database, self._clock) as reader:
            rows = await reader.rows(select(*_COLUMNS).where(failed_events.c.id == number))
        if not rows:
            raise DeadLetterNotFound(f"Dead letter {number} of {self._service} not found")
        return DeadLetter(*rows[0])

    async def replay(self, choice: DeadLetterFilter, *, by: str) -> int:
        """Retry dead letters from their first attempt. Later events of their aggregates keep their order.

        Events that the broker rejected return to the end of the outbox.

        Args:
            choice: which dead letters.
            by: name of the operator, for the log.

        Returns:
            The number of dead letters.
        """

        async def batch(after: int, work: UnitOfWork) -> Sequence[int]:
            rows = await _lock_batch(work, choice, after)
            rejected = [row for row in rows if row.kind == "not_publishable"]
            await publish_again(work, rejected)
            failed = [row.id for row in rows if row.kind != "not_publishable"]
            restarted = {"state": "waiting", "attempts": 0, "next_at": work.now}
            await work.execute(update(failed_events).where(failed_events.c.id.in_(failed)).values(restarted))
            work.changes(CHANGE_SUBJECT)
            return [row.id for row in rows]

        total = await in_batches(self._database, self._clock, batch)
        if total:
            logger.info("dead_letters_replayed", service=self._service, number=total, by=by)
        return total

    async def discard(self, choice: DeadLetterFilter, *, by: str) -> int:
        """Discard dead letters permanently. They count as handled, so a redelivery has no effect.

        Args:
            choice: which dead letters. With state `waiting` also events whose consumer no longer exists.
            by: name of the operator. Each discarded dead letter is logged with it.

        Returns:
            The number of dead letters.
        """

        async def batch(after: int, work: UnitOfWork) -> Sequence[int]:
            rows = await _lock_batch(work, choice, after)
            if rows:
                handled = [
                    {"consumer": row.consumer, "event_id": row.event_id, "handled_at": work.now}
                    for row in rows
                    if row.kind != "not_publishable"
                ]
                if handled:
                    await work.execute(insert_or_ignore(inbox, work.database.dialect), handled)
                await work.execute(delete(failed_events).where(failed_events.c.id.in_([row.id for row in rows])))
                work.after_commit(partial(self._log_discarded, rows, by))
            return [row.id for row in rows]

        return await in_batches(self._database, self._clock, batch)

    def _log_discarded(self, rows: Sequence[Any], by: str) -> None:
        for row in rows:
            logger.warning(
                "dead_letter_discarded",
                service=self._service,
                kind=row.kind,
                consumer=row.consumer,
                event_id=row.event_id,
                type=row.type,
                aggregate=row.aggregate,
                cause=row.cause,
                by=by,
            )


def _after(after: int, choice: DeadLetterFilter) -> Select[Any]:
    return select(failed_events).where(failed_events.c.id > after, *choice.conditions()).order_by(failed_events.c.id)


async def _lock_batch(work: UnitOfWork, choice: DeadLetterFilter, after: int) -> list[Any]:
    """Return the next batch, locked against concurrent replays and discards."""
    return list((await work.execute(_after(after, choice).limit(BATCH).with_for_update())).all())
