"""Drain a large outbox while other transactions write. Measure their rate and the outbox's size afterwards.

One process relays the outbox to RabbitMQ. Another one runs transactions on PostgreSQL that publish one event each,
first at full speed, then at half of that rate. All processes share the machine's cores. Run it with `python
bench/backlog.py`; `--events 5000` for a short run.
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
BEFORE = 5.0  # seconds of the measurement without a backlog
POLL = 0.1  # seconds
DRAIN_TIMEOUT = 1200.0  # seconds


class Written(NamedTuple):
    """Rate and latency of the writers during one measurement."""

    rate: float  # transactions a second
    p50: float  # milliseconds of a transaction
    p99: float


class Writers:
    """A process that runs `WRITERS` concurrent transactions, each of which publishes an event."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        self._child = child

    async def measure_until(self, until: Awaitable[object]) -> Written:
        """Measure the writers until the awaitable ends."""
        await self._new_times()
        began = time.perf_counter()
        await until
        times = sorted(await self._new_times())
        seconds = time.perf_counter() - began
        if not times:
            return Written(0.0, seconds * 1000, seconds * 1000)
        return Written(len(times) / seconds, times[len(times) // 2], times[len(times) * 99 // 100])

    async def _new_times(self) -> list[float]:
        if self._child.stdin is None or self._child.stdout is None:
            raise RuntimeError("the writers have no pipes")
        self._child.stdin.write(b"\n")
        times: list[float] = orjson.loads(await self._child.stdout.readline())
        return times


@asynccontextmanager
async def writing(url: str, rate: float) -> AsyncIterator[Writers]:
    """Start writers at `rate` transactions a second; 0 means full speed."""
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
    """Write until standard input ends. For each line on it, print the durations (ms) of the transactions since then."""
    times: list[float] = []
    numbers = itertools.count(1)
    async with host({}, only=["publisher"], broker=False) as here:
        running = here.contexts["publisher"]

        async def write_repeatedly() -> None:
            while True:
                began = time.perf_counter()
                async with running.transaction() as work:
                    work.publish(Measured.numbered(next(numbers)))
                times.append((time.perf_counter() - began) * 1000)
                if rate:
                    await asyncio.sleep(max(0.0, began + WRITERS / rate - time.perf_counter()))

        tasks = [asyncio.create_task(write_repeatedly()) for _ in range(WRITERS)]
        while await asyncio.to_thread(sys.stdin.readline):
            print(orjson.dumps(times).decode(), flush=True)
            times.clear()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


class Backlog:
    """An outbox with a large backlog, and the relay that drains it."""

    def __init__(self, url: str, database: asyncpg.Connection, count: int) -> None:
        self._url = url
        self._database = database
        self._count = count

    async def compare(self) -> None:
        """Measure with writers at full speed, then at half of that rate."""
        print(
            f"\n{f'{self._count:,} events drain while {WRITERS} write':38}{'writes/s':>14}{'p50 ms':>9}{'p99 ms':>8}{'of before':>11}"
        )
        full = await self._round("at full speed", 0.0)
        await self._round("half of that rate", full.rate / 2)

    async def _round(self, name: str, rate: float) -> Written:
        async with writing(self._url, rate) as writers:
            before = await writers.measure_until(asyncio.sleep(BEFORE))
            await fill(self._database, self._count)
            last = await self._database.fetchval("SELECT max(id) FROM outbox")
            began = time.perf_counter()
            during = await writers.measure_until(self._wait_until_drained(last))
            seconds = time.perf_counter() - began
        for when, each in (("before", before), ("while draining", during)):
            what = f"writers {name}, {when}"
            print(f"{what:38}{each.rate:14,.0f}{each.p50:9.1f}{each.p99:8.1f}{each.rate / before.rate:11.2f}")
        await self._print_table_size(seconds)
        return before

    async def _print_table_size(self, seconds: float) -> None:
        await self._wait_until_drained(None)
        left = await self._size()
        await self._database.execute("VACUUM outbox")
        print(
            f"  drained in {seconds:.1f} s ({self._count / seconds:,.0f}/s); the outbox is empty, "
            f"{left >> 10:,} KiB before and {await self._size() >> 10:,} KiB after VACUUM",
            flush=True,
        )

    async def _wait_until_drained(self, number: int | None) -> None:
        """Wait until all events up to the id `number` are relayed; None waits for all."""
        async with asyncio.timeout(DRAIN_TIMEOUT):
            while (first := await self._database.fetchval("SELECT min(id) FROM outbox")) is not None:
                if number is not None and first > number:
                    return
                await asyncio.sleep(POLL)

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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=float, help="run only the writers, at this rate (transactions a second)")
    parser.add_argument("--events", type=int, default=1_000_000, help="size of the backlog")
    options = parser.parse_args()
    uvloop.run(main(options.events) if options.write is None else write(options.write))
