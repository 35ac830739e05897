"""Latency of events: from the commit of the publishing transaction to the commit of the consuming one.

Measured in one process with the embedded backends (SQLite and a file broker) at two rates, and between two processes
over PostgreSQL and RabbitMQ. Events of 600 bytes are published at a constant rate, whether or not earlier ones have
been handled. Then 2,000 events are published at once, in 20 transactions. The processor time of an event includes all
processes and servers. Run it with `python bench/events.py`; `--seconds 1 --rounds 1` for a short run.
"""

import argparse
import asyncio
import itertools
import os
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from time import monotonic

import orjson
import psutil
import uvloop
from event_services import Arrivals, Measured, host

from portico.kit.runtime.context import ServiceRuntime
from portico.servers import PostgreSQLServer, RabbitMQServer

TIMEOUT = 30.0  # seconds until the last event of a round must be handled
POLL = 0.05  # seconds
BURST = 2_000
TRANSACTION = 100  # events of the burst in one transaction
LINE_LIMIT = 1 << 25  # bytes
# On a slow machine requests wait for a connection instead of failing, so the figures show the delay.
VARIABLES = {"DATABASE_POOL_TIMEOUT": "60"}

numbers = itertools.count(1)

ReadArrivals = Callable[[], Awaitable[Mapping[int, float]]]
"""Returns the arrivals since the last call."""


@dataclass(frozen=True)
class Case:
    name: str
    rate: int  # events a second
    wanted: tuple[int, int]  # milliseconds: p50, p99
    context: ServiceRuntime
    read_arrivals: ReadArrivals


async def publish(context: ServiceRuntime, rate: int, seconds: float) -> dict[int, float]:
    """Publish events at a constant rate. Return when each was committed."""
    committed: dict[int, float] = {}
    loop = asyncio.get_running_loop()

    async def one(number: int) -> None:
        async with context.transaction() as work:
            work.publish(Measured.numbered(number))
            work.after_commit(lambda: committed.setdefault(number, monotonic()) and None)

    began = loop.time()
    async with asyncio.TaskGroup() as tasks:
        for place in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, began + place / rate - loop.time()))
            tasks.create_task(one(next(numbers)))
    return committed


async def arrived(case: Case, published: Mapping[int, float]) -> dict[int, float]:
    """Wait until all events are handled. Return when each was. Raises TimeoutError."""
    arrivals: dict[int, float] = {}
    async with asyncio.timeout(TIMEOUT):
        while not arrivals.keys() >= published.keys():
            arrivals |= await case.read_arrivals()
            await asyncio.sleep(POLL)
    return arrivals


async def measured(case: Case, seconds: float) -> tuple[float, float, float]:
    """Return the latency from commit to handled (ms, p50 and p99) and the processor time (ms) of an event."""
    used = processor_seconds()
    committed = await publish(case.context, case.rate, seconds)
    arrivals = await arrived(case, committed)
    used = (processor_seconds() - used) / len(committed) * 1000
    taken = sorted((arrivals[number] - at) * 1000 for number, at in committed.items())
    return taken[len(taken) // 2], taken[len(taken) * 99 // 100], used


async def burst(case: Case) -> tuple[float, float]:
    """Return the events handled per second, from the first commit to the last effect, and an event's processor time (ms)."""
    used = processor_seconds()
    began = monotonic()
    published: dict[int, float] = {}
    for _ in range(BURST // TRANSACTION):
        async with case.context.transaction() as work:
            for number in itertools.islice(numbers, TRANSACTION):
                work.publish(Measured.numbered(number))
                published[number] = began
    ended = max((await arrived(case, published)).values())
    return BURST / (ended - began), (processor_seconds() - used) / BURST * 1000


def processor_seconds() -> float:
    """Return the processor time of this process and of its running child processes."""
    me = psutil.Process()
    total = 0.0
    for each in (me, *me.children(recursive=True)):
        with suppress(psutil.Error):
            times = each.cpu_times()
            total += times.user + times.system
    return total


@asynccontextmanager
async def embedded() -> AsyncIterator[list[Case]]:
    with tempfile.TemporaryDirectory() as folder:
        async with host({**VARIABLES, "DATA_DIR": folder}) as here:
            arrivals = here.contexts["consumer"].resource(Arrivals)

            async def read_arrivals() -> Mapping[int, float]:
                found = dict(arrivals)
                arrivals.clear()
                return found

            context = here.contexts["publisher"]
            yield [
                Case(f"one process, embedded, {rate}/s", rate, (5, 25), context, read_arrivals) for rate in (50, 200)
            ]


@asynccontextmanager
async def servers() -> AsyncIterator[list[Case]]:
    with PostgreSQLServer() as postgresql, RabbitMQServer() as rabbitmq:
        url = postgresql.url("bench_{service}")
        variables = {**VARIABLES, "DATABASE_URL": url, "RABBITMQ_URL": rabbitmq.url()}
        async with host(variables, only=["publisher"]) as here, consumer_process(variables) as read_arrivals:
            yield [
                Case(
                    "two processes, PostgreSQL, RabbitMQ, 500/s",
                    500,
                    (10, 30),
                    here.contexts["publisher"],
                    read_arrivals,
                )
            ]


@asynccontextmanager
async def consumer_process(variables: Mapping[str, str]) -> AsyncIterator[ReadArrivals]:
    """Run the consuming service in a process of its own."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, __file__, "--consume"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **variables},
        limit=LINE_LIMIT,
    )
    requests, responses = child.stdin, child.stdout
    if requests is None or responses is None:
        raise RuntimeError("the other process has no pipes")

    async def read_arrivals() -> Mapping[int, float]:
        requests.write(b"\n")
        return {int(number): at for number, at in orjson.loads(await responses.readline()).items()}

    try:
        await read_arrivals()
        yield read_arrivals
    finally:
        requests.close()
        await child.wait()


async def serve_until_closed() -> None:
    """Run the consumer, and print its new arrivals for each line on standard input."""
    async with host({}, only=["consumer"]) as here:
        arrivals = here.contexts["consumer"].resource(Arrivals)
        while await asyncio.to_thread(sys.stdin.readline):
            print(orjson.dumps({str(number): at for number, at in arrivals.items()}).decode(), flush=True)
            arrivals.clear()


async def main(rounds: int, seconds: float) -> None:
    async with AsyncExitStack() as stack:
        cases = [case for opened in (embedded, servers) for case in await stack.enter_async_context(opened())]
        for case in cases:
            await measured(case, 1.0)
        found = [{case.name: await measured(case, seconds) for case in cases} for _ in range(rounds)]
        bursts = [{case.name: await burst(case) for case in cases[1:]} for _ in range(rounds)]
    print(f"{'an event from commit to handled, ms':46}{'p50':>8}{'p99':>8}{'wanted':>12}{'processor':>12}")
    for case in cases:
        p50, p99, used = (statistics.median(each[case.name][place] for each in found) for place in range(3))
        print(f"{case.name:46}{p50:8.1f}{p99:8.1f}{f'{case.wanted[0]} / {case.wanted[1]}':>12}{used:12.2f}")
    print(f"\n{f'{BURST:,} events at once':46}{'events/s':>16}{'processor ms':>24}")
    for case in cases[1:]:
        rate, used = (statistics.median(each[case.name][place] for each in bursts) for place in range(2))
        print(f"{case.name.rpartition(', ')[0]:46}{rate:16.0f}{used:24.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--consume", action="store_true", help="run only the consuming service")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="duration of a round")
    options = parser.parse_args()
    uvloop.run(serve_until_closed() if options.consume else main(options.rounds, options.seconds))
