"""An event from commit to handled: from the end of the transaction that published it to the end of the one that handled it.

In one process on the embedded backends (SQLite and a file for a broker), at two paces; and from one process to another
through PostgreSQL and RabbitMQ. Events of 600 bytes come evenly, whether or not the ones before were handled. A burst follows: 2,000
events published in 20 transactions. The processor time an event is that of all processes, the servers' too. Run it with
`python bench/events.py`; `--seconds 1 --rounds 1` for a look.
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

PATIENCE = 30.0  # seconds until the last event of a round must be handled
LOOK = 0.05
BURST = 2_000
TRANSACTION = 100  # events of the burst in one transaction
LONGEST_LINE = 1 << 25
PATIENT = {"DATABASE_POOL_TIMEOUT": "60"}  # a machine that has no time for this pace is to say so in the figures

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
    """Tell of events at a steady pace; when each was committed."""
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
    """When each event was handled. Raises TimeoutError."""
    arrivals: dict[int, float] = {}
    async with asyncio.timeout(PATIENCE):
        while not arrivals.keys() >= published.keys():
            arrivals |= await case.read_arrivals()
            await asyncio.sleep(LOOK)
    return arrivals


async def measured(case: Case, seconds: float) -> tuple[float, float, float]:
    """Milliseconds from commit to handled, p50 and p99, and processor milliseconds an event."""
    used = processor_seconds()
    committed = await publish(case.context, case.rate, seconds)
    arrivals = await arrived(case, committed)
    used = (processor_seconds() - used) / len(committed) * 1000
    taken = sorted((arrivals[number] - at) * 1000 for number, at in committed.items())
    return taken[len(taken) // 2], taken[len(taken) * 99 // 100], used


async def burst(case: Case) -> tuple[float, float]:
    """Events handled a second, from the first commit to the last effect, and processor milliseconds an event."""
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
    """Processor time of this process, and of all that it started and that still run."""
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
        async with host({**PATIENT, "DATA_DIR": folder}) as here:
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
        variables = {**PATIENT, "DATABASE_URL": url, "RABBITMQ_URL": rabbitmq.url()}
        async with host(variables, only=["publisher"]) as here, consumer_process(variables) as read_arrivals:
            yield [
                Case(
                    "two processes, PostgreSQL, RabbitMQ, 500/s",
                    500,
                    (10, 50),
                    here.contexts["publisher"],
                    read_arrivals,
                )
            ]


@asynccontextmanager
async def consumer_process(variables: Mapping[str, str]) -> AsyncIterator[ReadArrivals]:
    """A process that hears."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, __file__, "--consume"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **variables},
        limit=LONGEST_LINE,
    )
    asking, answers = child.stdin, child.stdout
    if asking is None or answers is None:
        raise RuntimeError("the other process has no pipes")

    async def read_arrivals() -> Mapping[int, float]:
        asking.write(b"\n")
        return {int(number): at for number, at in orjson.loads(await answers.readline()).items()}

    try:
        await read_arrivals()
        yield read_arrivals
    finally:
        asking.close()
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
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--consume", action="store_true", help="be the consuming process")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=float, default=5.0, help="of a round")
    asked = options.parse_args()
    uvloop.run(serve_until_closed() if asked.consume else main(asked.rounds, asked.seconds))
