"""A large backlog in the outbox: what its draining does to those who write meanwhile, and what is left of it.

A relay empties the outbox to RabbitMQ in a process of its own while another one goes on writing and telling of it, on
PostgreSQL: as fast as it can, and at half that pace, as in a shop that has some room. All share the machine's cores. Run
it with `python bench/backlog.py`; `--events 5000` for a look.
"""

import argparse
import asyncio
import itertools
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

import asyncpg
import orjson
import uvloop
from event_services import SYSTEM, Measured, fill, host

from portico.kit.messaging.brokers.factory import open_broker
from portico.kit.messaging.relay import Relay
from portico.kit.settings import Settings
from portico.servers import PostgreSQLServer, RabbitMQServer

WRITERS = 8
WATCHED = 5.0  # seconds for which writers are watched without a backlog
LOOK = 0.1
MOST_WAITED = 1200.0  # seconds until a backlog must be gone


class Written(NamedTuple):
    """What writers did while they were watched."""

    rate: float  # transactions a second
    p50: float  # milliseconds of one
    p99: float


class Writers:
    """A process that writes and tells of it, `WRITERS` transactions at once."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        self._child = child

    async def watched(self, until: Awaitable[object]) -> Written:
        """What they did until then."""
        await self._asked()
        began = time.perf_counter()
        await until
        times = sorted(await self._asked())
        seconds = time.perf_counter() - began
        if not times:
            return Written(0.0, seconds * 1000, seconds * 1000)
        return Written(len(times) / seconds, times[len(times) // 2], times[len(times) * 99 // 100])

    async def _asked(self) -> list[float]:
        if self._child.stdin is None or self._child.stdout is None:
            raise RuntimeError("the writers have no pipes")
        self._child.stdin.write(b"\n")
        times: list[float] = orjson.loads(await self._child.stdout.readline())
        return times


@asynccontextmanager
async def writing(url: str, rate: float) -> AsyncIterator[Writers]:
    """Writers at `rate` transactions a second; as fast as they can with 0."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, __file__, "--write", str(rate)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "DATABASE_URL": url},
        limit=1 << 27,
    )
    try:
        yield Writers(child)
    finally:
        if child.stdin is not None:
            child.stdin.close()
        await child.wait()


async def write(rate: float) -> None:
    """Write until standard input ends; at each line say how long each transaction took, in milliseconds."""
    times: list[float] = []
    numbers = itertools.count(1)
    async with host({}, only=["publisher"], broker=False) as here:
        running = here.contexts["publisher"]

        async def one_after_the_other() -> None:
            while True:
                began = time.perf_counter()
                async with running.transaction() as work:
                    work.publish(Measured.numbered(next(numbers)))
                times.append((time.perf_counter() - began) * 1000)
                if rate:
                    await asyncio.sleep(max(0.0, began + WRITERS / rate - time.perf_counter()))

        tasks = [asyncio.create_task(one_after_the_other()) for _ in range(WRITERS)]
        while await asyncio.to_thread(sys.stdin.readline):
            print(orjson.dumps(times).decode(), flush=True)
            times.clear()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


class Backlog:
    """An outbox that has far too much in it, and a relay that empties it."""

    def __init__(self, url: str, database: asyncpg.Connection, count: int) -> None:
        self._url = url
        self._database = database
        self._count = count

    async def compare(self) -> None:
        """With writers at full speed, then at half of it."""
        print(
            f"\n{f'{self._count:,} events drain while {WRITERS} write':38}{'writes/s':>14}{'p50 ms':>9}{'p99 ms':>8}{'of before':>11}"
        )
        full = await self._round("as fast as they can", 0.0)
        await self._round("half of that", full.rate / 2)

    async def _round(self, name: str, rate: float) -> Written:
        async with writing(self._url, rate) as writers:
            before = await writers.watched(asyncio.sleep(WATCHED))
            await fill(self._database, self._count)
            last = await self._database.fetchval("SELECT max(id) FROM outbox")
            began = time.perf_counter()
            during = await writers.watched(self._beyond(last))
            seconds = time.perf_counter() - began
        for when, each in (("before", before), ("meanwhile", during)):
            what = f"writers {name}, {when}"
            print(f"{what:38}{each.rate:14,.0f}{each.p50:9.1f}{each.p99:8.1f}{each.rate / before.rate:11.2f}")
        await self._tell_of_the_table(seconds)
        return before

    async def _tell_of_the_table(self, seconds: float) -> None:
        await self._beyond(None)
        left = await self._size()
        await self._database.execute("VACUUM outbox")
        print(
            f"  drained in {seconds:.1f} s ({self._count / seconds:,.0f}/s); the outbox is empty, "
            f"{left >> 10:,} KiB as it was left and {await self._size() >> 10:,} KiB vacuumed",
            flush=True,
        )

    async def _beyond(self, number: int | None) -> None:
        """Wait until all up to `number` are gone; all, with None."""
        async with asyncio.timeout(MOST_WAITED):
            while (first := await self._database.fetchval("SELECT min(id) FROM outbox")) is not None:
                if number is not None and first > number:
                    return
                await asyncio.sleep(LOOK)

    async def _size(self) -> int:
        size: int = await self._database.fetchval("SELECT pg_total_relation_size('outbox')")
        return size


async def main(events: int) -> None:
    async with AsyncExitStack() as stack:
        postgresql, rabbitmq = (stack.enter_context(server()) for server in (PostgreSQLServer, RabbitMQServer))
        url = postgresql.url("bench_{service}")
        here = await stack.enter_async_context(host({"DATABASE_URL": url}, only=["publisher"], broker=False))
        broker = await stack.enter_async_context(open_broker(Settings(rabbitmq_url=rabbitmq.url()), SYSTEM))
        await broker.declare("consumer", [Measured.event_type])
        database = await asyncpg.connect(postgresql.url("bench_publisher"))
        stack.push_async_callback(database.close)
        relaying = asyncio.create_task(Relay(here.contexts["publisher"], broker).run())
        try:
            await Backlog(url, database, events).compare()
        finally:
            relaying.cancel()
            await asyncio.wait([relaying])


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--write", type=float, help="be the process that writes, at this pace")
    options.add_argument("--events", type=int, default=1_000_000, help="of the backlog")
    asked = options.parse_args()
    uvloop.run(main(asked.events) if asked.write is None else write(asked.write))
