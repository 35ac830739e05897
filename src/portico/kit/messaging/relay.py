"""The relay: publishes what the outbox holds, in order, and moves it to the event log."""

import asyncio
import random
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
from portico.kit.foundation.backoff import Backoff
from portico.kit.messaging.brokers.base import Broker, BrokerUnavailable, Message
from portico.kit.messaging.context import MessagingContext
from portico.kit.messaging.publish_failures import IS_HELD, PublishFailures
from portico.kit.telemetry.logs import get_logger

logger = get_logger(__name__)

_LEASE = "relay"
_BATCH = 1000  # events
_POLL = 0.5  # seconds between two looks at what another process may have left
_BROKER_BACKOFF = Backoff(base=0.1, limit=5.0)
_ROOM = 0.6  # of the time that a full batch took, left to those who write meanwhile

_COLUMNS = tuple(column.name for column in outbox.columns)

# One statement instead of two and a look: a third of the time on PostgreSQL.
_MOVE = Statement(
    text(
        f"WITH gone AS (DELETE FROM outbox WHERE id = ANY(:ids) RETURNING {', '.join(_COLUMNS)}) "  # noqa: S608  # names of columns
        f"INSERT INTO event_log ({', '.join(_COLUMNS)}) SELECT {', '.join(_COLUMNS)} FROM gone"
    )
)


class Relay:
    """Publishes the events of one database, by one process at a time: the one that holds the lease.

    In order of id, which is the order in which rows about one thing were committed. There is no cursor: it would pass
    over what commits late, or was held; rows go once they are published. Published twice is possible, where this dies
    between the broker's confirmation and the move; an inbox sees to it that it matters to nobody.
    """

    def __init__(self, context: MessagingContext, broker: Broker) -> None:
        self._context = context
        self._broker = broker
        self._owner = secrets.token_hex(8)
        self._lease = timedelta(seconds=context.settings.relay_lease)
        self._until: datetime | None = None
        self._refusals = PublishFailures(context)
        self.published = 0
        self.lag = 0.0
        """seconds that the oldest event waiting has waited, as last seen"""

    async def run(self) -> None:
        """Relay until cancelled; the lease is handed back then."""
        failures = 0
        try:
            while True:
                self._context.committed_events.clear()
                try:
                    if await self._lead():
                        await self.drain()
                    failures = 0
                except BrokerUnavailable as error:
                    if not failures:
                        logger.warning("broker_unavailable", service=self._context.name, error=str(error))
                    failures += 1
                except Exception:
                    logger.exception("relay_failed", service=self._context.name)
                    failures += 1
                await self._rest(failures)
        finally:
            await asyncio.shield(self._hand_back())

    async def drain(self) -> int:
        """Publish until nothing is left that may be; how many were. Raises BrokerUnavailable.

        A batch goes to the log while the next one is read and published, and while a full one is published another is
        read: the database and the broker work side by side. Each is the first of what is not under way, seen in one
        moment, so that nothing is ahead of what was committed before it about the same thing. Others who write meanwhile
        are given room: a backlog is not to slow them.
        """
        total, newest = 0, 0
        reading: asyncio.Task[Sequence[Any]] | None = None
        moving: asyncio.Task[None] | None = None
        going: list[int] = []  # what is moved meanwhile
        try:
            while await self._lead():
                rows = await (reading or self._next(going))
                reading, began = None, monotonic()
                self.lag = max((self._context.clock.now() - rows[0].occurred_at).total_seconds(), 0.0) if rows else 0.0
                if not rows:
                    return total
                full = len(rows) == _BATCH
                if full:
                    reading = asyncio.create_task(self._next([*going, *(row.id for row in rows)]))
                ids = await self._publish(rows)
                if len(ids) < len(rows) and reading is not None:
                    await reading  # may have read what is to wait behind the refused
                    reading = None
                if moving is not None:
                    await moving
                moving, going, total = asyncio.create_task(self._move(ids)), ids, total + len(ids)
                if full:
                    await asyncio.sleep(room(rows[-1].newest - newest, monotonic() - began))
                    newest = rows[-1].newest
        finally:
            if reading is not None:
                await asyncio.gather(reading, return_exceptions=True)  # it is not used any more
            if moving is not None:
                await moving  # also where the broker was lost since: what it has confirmed need not come twice
        return total

    async def _next(self, under_way: Sequence[int]) -> Sequence[Any]:
        now = self._context.clock.now()
        holding = self._refusals.hold(now)
        values = {"under_way": under_way, "now": now} if holding else {"under_way": under_way}
        async with self._context.reader() as reader:
            return await reader.rows(_batch(reader.database.dialect, holding=holding), values)

    async def _publish(self, rows: Sequence[Any]) -> list[int]:
        """Have the broker confirm these events; the numbers of those that are to be moved."""
        messages = [Message(row.event_id, row.type, row.aggregate, row.body.encode()) for row in rows]
        refused = await self._broker.publish(messages)
        if refused:
            rows = await self._refusals.settle(rows, refused)
        self.published += len(rows)
        return [row.id for row in rows]

    async def _move(self, ids: list[int]) -> None:
        if not ids:
            return
        database = self._context.database
        if database.dialect == "postgresql":
            await database.write_alone(_MOVE, {"ids": ids})
            return
        async with self._context.transaction() as work:
            gone = outbox.c.id.in_(bindparam("ids", expanding=True))
            await work.execute(insert(event_log).from_select(_COLUMNS, select(outbox).where(gone)), {"ids": ids})
            await work.execute(delete(outbox).where(gone), {"ids": ids})

    async def _lead(self) -> bool:
        """Whether this process relays: hold the lease, or take it where its holder is gone."""
        now = self._context.clock.now()
        if self._until is not None and now < self._until - self._lease / 2:
            return True
        async with self._context.transaction() as work:
            await insert_if_absent(work, leases, {"name": _LEASE, "owner": self._owner, "until": now})
        async with self._context.transaction() as work:
            until = now + self._lease
            free = or_(leases.c.owner == self._owner, leases.c.until <= now)
            taken = await work.execute(
                update(leases).where(leases.c.name == _LEASE, free).values(owner=self._owner, until=until)
            )
            leads = bool(taken.rowcount)  # type: ignore[attr-defined]  # SQLAlchemy's Result of an UPDATE has one
            if leads and self._until is None:
                await self._refusals.remember(work)
        self._until = until if leads else None
        return leads

    async def _hand_back(self) -> None:
        if self._until is None:
            return
        mine = (leases.c.name == _LEASE, leases.c.owner == self._owner)
        try:
            async with self._context.transaction() as work:
                await work.execute(update(leases).where(*mine).values(until=work.now))
        except Exception as error:  # noqa: BLE001  # whatever it is: the lease runs out by itself
            logger.warning("relay_lease_not_released", service=self._context.name, error=type(error).__name__)

    async def _rest(self, failures: int) -> None:
        """Wait for the next commit of this process or the next poll; after failures, wait for the backoff."""
        if failures:
            await asyncio.sleep(_BROKER_BACKOFF.delay(failures))
            return
        try:
            async with asyncio.timeout(_POLL * random.uniform(0.8, 1)):  # noqa: S311  # likewise
                await self._context.committed_events.wait()
        except TimeoutError:
            return

    async def backlog(self) -> int:
        """How many events wait to be published, counted up to a limit."""
        few = select(outbox.c.id).limit(100_000).subquery()
        async with self._context.reader() as reader:
            return await reader.one(select(func.count()).select_from(few)) or 0


@cache
def _batch(dialect: str, *, holding: bool) -> Statement:
    """The first events that are not `under_way`."""
    newest = select(func.max(outbox.c.id)).scalar_subquery().label("newest")
    chosen = select(outbox, newest).where(outbox.c.id.not_in(_under_way(dialect)))
    return Statement((chosen.where(~IS_HELD) if holding else chosen).order_by(outbox.c.id).limit(_BATCH))


def _under_way(dialect: str) -> Any:
    if dialect == "postgresql":
        # One value, so that the statement stays the same; from a subquery it is hashed, by <> ALL searched for each row
        return select(func.unnest(bindparam("under_way", type_=ARRAY(outbox.c.id.type))))
    return bindparam("under_way", expanding=True)


def room(grown: int, took: float) -> float:
    """How long to rest after a full batch that took `took` seconds, in which the outbox's last number grew by `grown`.

    Not where nobody writes, nor where they write more than a batch holds: what comes faster than it goes never ends.
    """
    return took * _ROOM if 0 < grown < _BATCH else 0.0
