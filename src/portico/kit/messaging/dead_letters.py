"""Dead letters: events that a consumer could not handle, or the broker would not take.

To be looked at, tried again or given up for good.
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
from portico.kit.messaging.retry_queue import Kind, State
from portico.kit.telemetry.logs import get_logger

logger = get_logger(__name__)

LARGEST_PAGE = 1001
"""One more than are shown at once: whoever asks for that one learns whether there are more."""


class NoSuchDeadLetter(LookupError):
    """There is no dead letter of that number: it never was one, was discarded, or is being tried again."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that a consumer could not handle, or that the broker would not take.

    Args:
        number: its own, within its service.
        kind: whether its consumer failed, it was unreadable, or the broker rejected it.
        consumer: the consumer that failed; empty for the other kinds.
        event_id: the event.
        type: its type.
        aggregate: what it is about.
        body: the message as it came, a CloudEvent unless nobody could read it.
        state: `dead`, or `waiting` where it is still being tried.
        attempts: how often it was tried.
        next_at: when it is tried again, where it waits.
        cause: the kind of what went wrong: a problem's code or an exception's name.
        error: what went wrong.
        failed_at: when it failed first.
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
class Choice:
    """Which dead letters: those that meet all that is given; all of them by default.

    Args:
        numbers: their own, within their service.
        kind: why they failed.
        consumer: the consumer that failed.
        type: of the event.
        cause: the kind of what went wrong.
        aggregate: what the event is about.
        since: parked then or later.
        state: `waiting` for those that are not dead yet.
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
    """Those of one service, in its database.

    Args:
        service: what it is called, for the log.
        database: its database.
        clock: the time.
    """

    def __init__(self, service: str, database: Database, clock: Clock) -> None:
        self._service = service
        self._database = database
        self._clock = clock

    async def page(self, choice: Choice, *, limit: int = 100, after: int = 0) -> list[DeadLetter]:
        """At most `limit` (LARGEST_PAGE), the oldest first, those with a number beyond `after`."""
        chosen = _behind(after, choice).limit(min(limit, LARGEST_PAGE))
        async with Reader(self._database, self._clock) as reader:
            return [DeadLetter(*row) for row in await reader.rows(chosen.with_only_columns(*_COLUMNS))]

    async def count(self, choice: Choice) -> int:
        """How many there are."""
        counted = select(func.count()).select_from(failed_events).where(*choice.conditions())
        async with Reader(self._database, self._clock) as reader:
            return await reader.one(counted) or 0

    async def get(self, number: int) -> DeadLetter:
        """The dead letter, or the event that still waits. Raises NoSuchDeadLetter."""
        async with Reader(self._database, self._clock) as reader:
            rows = await reader.rows(select(*_COLUMNS).where(failed_events.c.id == number))
        if not rows:
            raise NoSuchDeadLetter(f"{self._service} has no dead letter {number}")
        return DeadLetter(*rows[0])

    async def replay(self, choice: Choice, *, by: str) -> int:
        """Have them tried again, from the first try on; those behind them keep their order.

        What the broker refused goes back into the outbox, behind what is there.

        Args:
            choice: which.
            by: who wants it, for the log.

        Returns:
            how many.
        """

        async def batch(after: int, work: UnitOfWork) -> Sequence[int]:
            rows = await _locked(work, choice, after)
            rejected = [row for row in rows if row.kind == "not_publishable"]
            await publish_again(work, rejected)
            failed = [row.id for row in rows if row.kind != "not_publishable"]
            restarted = {"state": "waiting", "attempts": 0, "next_at": work.now}
            await work.execute(update(failed_events).where(failed_events.c.id.in_(failed)).values(restarted))
            return [row.id for row in rows]

        total = await in_batches(self._database, self._clock, batch)
        if total:
            logger.info("dead_letters_replayed", service=self._service, number=total, by=by)
        return total

    async def discard(self, choice: Choice, *, by: str) -> int:
        """Give them up for good: they count as handled, so that no redelivery brings them back.

        Args:
            choice: which; also events that wait, where it says so, as for a consumer that is no more.
            by: who answers for it: there is a line in the log for each.

        Returns:
            how many.
        """

        async def batch(after: int, work: UnitOfWork) -> Sequence[int]:
            rows = await _locked(work, choice, after)
            if rows:
                handled = [
                    {"consumer": row.consumer, "event_id": row.event_id, "handled_at": work.now}
                    for row in rows
                    if row.kind != "not_publishable"
                ]
                if handled:
                    await work.execute(insert_or_ignore(inbox, work.database.dialect), handled)
                await work.execute(delete(failed_events).where(failed_events.c.id.in_([row.id for row in rows])))
                work.after_commit(partial(self._tell, rows, by))
            return [row.id for row in rows]

        return await in_batches(self._database, self._clock, batch)

    def _tell(self, rows: Sequence[Any], by: str) -> None:
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


def _behind(after: int, choice: Choice) -> Select[Any]:
    return select(failed_events).where(failed_events.c.id > after, *choice.conditions()).order_by(failed_events.c.id)


async def _locked(work: UnitOfWork, choice: Choice, after: int) -> list[Any]:
    """The next batch, which nobody else replays or discards meanwhile."""
    return list((await work.execute(_behind(after, choice).limit(BATCH).with_for_update())).all())
