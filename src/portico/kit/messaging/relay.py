"""Relay: publishes the events of the outbox in order and moves them to the event log."""

import asyncio
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from time import monotonic
from typing import Any

from sqlalchemy import bindparam, delete, func, insert, or_, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY

from portico.kit.data.kit_tables import event_log, leases, outbox
from portico.kit.data.statements import Statement
from portico.kit.data.upsert import insert_if_absent
from portico.kit.foundation.aio import wait_for_event
from portico.kit.foundation.backoff import Backoff
from portico.kit.foundation.clock import latest_due
from portico.kit.messaging.brokers.base import Broker, BrokerUnavailable, Message
from portico.kit.messaging.context import MessagingContext
from portico.kit.messaging.publish_failures import IS_BLOCKED, MAX_HOLD, PublishFailures
from portico.kit.telemetry.logs import LastFailure, get_logger

logger = get_logger(__name__)

_LEASE = "relay"
_MAX_LEASE = timedelta(seconds=300)  # maximum of RELAY_LEASE, which may differ between processes
_BATCH = 1000  # events per batch
_POLL = Backoff(base=0.5, limit=5.0, jitter=0.2)  # for events that another process has committed
_BROKER_BACKOFF = Backoff(base=0.1, limit=5.0)
_PAUSE = 0.6  # pause after a full batch as a fraction of its duration; it leaves capacity to writers

_COLUMNS = tuple(column.name for column in outbox.columns)

# One statement is three times as fast on PostgreSQL as two statements and a SELECT.
_MOVE = Statement(
    text(
        f"WITH gone AS (DELETE FROM outbox WHERE id = ANY(:ids) RETURNING {', '.join(_COLUMNS)}) "  # noqa: S608  # column names
        f"INSERT INTO event_log ({', '.join(_COLUMNS)}) SELECT {', '.join(_COLUMNS)} FROM gone"
    )
)

_FIRST = Statement(select(outbox.c.id).limit(1))


class Relay:
    """Publishes the events of one database, in one process at a time: the one that holds the lease.

    Events are published in order of id, which for one aggregate is the order of commits. Published rows are deleted
    from the outbox. A cursor would skip rows that commit late or were blocked. If the process dies between the broker's
    confirmation and the move to the log, an event is published twice. The consumers' inbox ignores the second copy.
    """

    def __init__(self, context: MessagingContext, broker: Broker) -> None:
        self._context = context
        self._broker = broker
        self._owner = secrets.token_hex(8)
        self._lease = timedelta(seconds=context.settings.relay_lease)
        self._until: datetime | None = None
        self._has_lease_row = False
        self._publish_failures = PublishFailures(context)
        self.published = 0
        self.lag = 0.0
        """Age (seconds) of the oldest event in the outbox when it was last read."""

    async def run(self) -> None:
        """Relay events until cancelled, then release the lease.

        A commit of this process starts a drain at once. Polling finds the events of other processes. While there are
        none, polling becomes less frequent, and any process can take the lease.
        """
        failures = idle = 0
        failure = LastFailure()
        is_woken = True
        try:
            while True:
                self._context.committed_events.clear()
                try:
                    if is_woken or await self._has_waiting():
                        idle = 0
                        if await self._acquire_lease():
                            await self.drain()
                    else:
                        idle += 1
                        await self._release_lease()
                    failures = 0
                    failure.clear()
                except BrokerUnavailable as error:
                    if not failures:
                        logger.warning("broker_unavailable", service=self._context.name, error=str(error))
                    failures += 1
                except Exception as error:
                    if failure.is_new(error):
                        logger.exception("relay_failed", service=self._context.name)
                    else:
                        logger.warning("relay_failed", service=self._context.name, error=repr(error))
                    failures += 1
                is_woken = await self._wait(failures, idle)
        finally:
            await asyncio.shield(self._release_lease())

    async def drain(self) -> int:
        """Publish until no event in the outbox can be published. Return how many were published.

        The database and the broker work concurrently. While a full batch is published, the next one is read. While a
        batch moves to the log, the next one is published. Each batch is read in one statement and starts after the
        batches in progress, so events of one aggregate stay in order. A pause between full batches leaves capacity to
        writers.

        Raises:
            BrokerUnavailable: the broker cannot be reached.
        """
        total, newest = 0, 0
        reading: asyncio.Task[Sequence[Any]] | None = None
        moving: asyncio.Task[None] | None = None
        moving_ids: list[int] = []  # ids being moved to the log
        try:
            while await self._acquire_lease():
                rows = await (reading or self._next(moving_ids))
                reading, began = None, monotonic()
                self.lag = max((self._context.clock.now() - rows[0].occurred_at).total_seconds(), 0.0) if rows else 0.0
                if not rows:
                    return total
                full = len(rows) == _BATCH
                if full:
                    reading = asyncio.create_task(self._next([*moving_ids, *(row.id for row in rows)]))
                ids = await self._publish(rows)
                if len(ids) < len(rows) and reading is not None:
                    await reading  # it may contain events that must wait for the rejected ones
                    reading = None
                if moving is not None:
                    await moving
                moving, moving_ids, total = asyncio.create_task(self._move(ids)), ids, total + len(ids)
                if full:
                    await asyncio.sleep(pause_after(rows[-1].newest - newest, monotonic() - began))
                    newest = rows[-1].newest
        finally:
            if reading is not None:
                await asyncio.gather(reading, return_exceptions=True)  # its result is not needed
            if moving is not None:
                await moving  # even after an error, so that confirmed events are not published twice
        return total

    async def _has_waiting(self) -> bool:
        async with self._context.reader() as reader:
            return bool(await reader.rows(_FIRST, {}))

    async def _next(self, in_progress: Sequence[int]) -> Sequence[Any]:
        now = self._context.clock.now()
        check_blocked = self._publish_failures.has_blocked(now)
        values: dict[str, Any] = {"in_progress": in_progress}
        if check_blocked:
            values |= {"now": now, "latest": latest_due(now, MAX_HOLD)}
        async with self._context.reader() as reader:
            return await reader.rows(_batch(reader.database.dialect, check_blocked=check_blocked), values)

    async def _publish(self, rows: Sequence[Any]) -> list[int]:
        """Publish events to the broker. Return the ids of those to move to the log."""
        messages = [Message(row.event_id, row.type, row.aggregate, row.body.encode()) for row in rows]
        refused = await self._broker.publish(messages)
        if refused:
            rows = await self._publish_failures.record(rows, refused)
        self.published += len(rows)
        return [row.id for row in rows]

    async def _move(self, ids: list[int]) -> None:
        if not ids:
            return
        database = self._context.database
        if database.dialect == "postgresql":
            await database.write_autocommit(_MOVE, {"ids": ids})
            return
        async with self._context.transaction() as work:
            gone = outbox.c.id.in_(bindparam("ids", expanding=True))
            await work.execute(insert(event_log).from_select(_COLUMNS, select(outbox).where(gone)), {"ids": ids})
            await work.execute(delete(outbox).where(gone), {"ids": ids})

    async def _acquire_lease(self) -> bool:
        """Acquire or renew the lease. Return whether this process holds it."""
        now = self._context.clock.now()
        if self._until is not None and self._lease / 2 < self._until - now <= self._lease:
            return True
        if not self._has_lease_row:
            async with self._context.transaction() as work:
                await insert_if_absent(work, leases, {"name": _LEASE, "owner": self._owner, "until": now})
            self._has_lease_row = True
        async with self._context.transaction() as work:
            until = now + self._lease
            free = or_(
                leases.c.owner == self._owner, leases.c.until <= now, leases.c.until > latest_due(now, _MAX_LEASE)
            )
            taken = await work.execute(
                update(leases).where(leases.c.name == _LEASE, free).values(owner=self._owner, until=until)
            )
            is_held = bool(taken.rowcount)  # type: ignore[attr-defined]  # SQLAlchemy's Result of an UPDATE has one
            if is_held and self._until is None:
                await self._publish_failures.load_blocked(work)
        self._until = until if is_held else None
        return is_held

    async def _release_lease(self) -> None:
        if self._until is None:
            return
        self._until = None
        mine = (leases.c.name == _LEASE, leases.c.owner == self._owner)
        try:
            async with self._context.transaction() as work:
                await work.execute(update(leases).where(*mine).values(until=work.now))
        except Exception as error:  # noqa: BLE001  # on any error the lease expires
            logger.warning("relay_lease_not_released", service=self._context.name, error=type(error).__name__)

    async def _wait(self, failures: int, idle: int) -> bool:
        """Wait for a commit or the next poll, or after failures for the backoff. Return whether to drain at once."""
        if failures:
            await asyncio.sleep(_BROKER_BACKOFF.delay(failures))
            return True
        return await wait_for_event(self._context.committed_events, _POLL.delay(idle))

    async def backlog(self) -> int:
        """Return the number of unpublished events, counted up to a limit."""
        few = select(outbox.c.id).limit(100_000).subquery()
        async with self._context.reader() as reader:
            return await reader.one(select(func.count()).select_from(few)) or 0


@cache
def _batch(dialect: str, *, check_blocked: bool) -> Statement:
    """Return the statement for the first events that are not `in_progress`."""
    newest = select(func.max(outbox.c.id)).scalar_subquery().label("newest")
    chosen = select(outbox, newest).where(outbox.c.id.not_in(_in_progress(dialect)))
    return Statement((chosen.where(~IS_BLOCKED) if check_blocked else chosen).order_by(outbox.c.id).limit(_BATCH))


def _in_progress(dialect: str) -> Any:
    if dialect == "postgresql":
        # One array value keeps the statement's text constant. A subquery, because PostgreSQL hashes it. It would
        # search the array of `<> ALL` for each row.
        return select(func.unnest(bindparam("in_progress", type_=ARRAY(outbox.c.id.type))))
    return bindparam("in_progress", expanding=True)


def pause_after(grown: int, took: float) -> float:
    """Return how long (seconds) to pause after a full batch.

    The pause is 0 if there are no writers, or if they are faster than the relay.

    Args:
        grown: increase of the highest id in the outbox during the batch.
        took: duration (seconds) of the batch.
    """
    return took * _PAUSE if 0 < grown < _BATCH else 0.0
