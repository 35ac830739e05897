"""Expiry of many holds of one show at once, on PostgreSQL, and the latency of other holds meanwhile.

Run it with `python bench/expiries.py`; it takes a minute. The service's writer takes 10,240 holds of one seat each, in
this process. Then they expire, and the service's expiry job frees their places. Meanwhile one caller takes holds of
another show without pause. For comparison, the same caller takes holds before the job runs. `python bench/expiries.py
--profile` prints where the processor time goes.
"""

import asyncio
import cProfile
import os
import pstats
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import psutil
from holds import make_show, processor_time, seating

from portico.contracts.events import ShowId
from portico.contracts.seating import HoldId
from portico.kit import UserId
from portico.services.seating.holds.domain import Wanted
from portico.services.seating.holds.expiry import HoldExpiry
from portico.services.seating.holds.writer import HoldWriter

if TYPE_CHECKING:
    from portico.kit.runtime.context import ServiceContext

HOLDS = 10_240
AT_ONCE = 256
DATABASE = "bench_expiries"


async def take(writer: HoldWriter, show_id: ShowId) -> None:
    """Hold the best seat for a new user."""
    await writer.take(show_id, HoldId.new(), UserId.new(), Wanted(1), admission=None, is_new=True)


async def fill(writer: HoldWriter, show_id: ShowId) -> None:
    """Take the holds that will expire."""
    for _ in range(HOLDS // AT_ONCE):
        await asyncio.gather(*(take(writer, show_id) for _ in range(AT_ONCE)))


async def times_until(end: Awaitable[object], writer: HoldWriter, show_id: ShowId) -> list[float]:
    """Take holds of another show until `end`. Return the latency (ms) of each."""
    task, times = asyncio.ensure_future(end), []
    while not task.done():
        began = time.perf_counter()
        await take(writer, show_id)
        times.append((time.perf_counter() - began) * 1000)
    await task
    return times


async def end_all(url: str, show_id: ShowId) -> None:
    """Set the expiry time of all holds of a show to the past."""
    database = await asyncpg.connect(url)
    try:
        await database.execute(
            "UPDATE seating.holds SET expires_at = now() - interval '1 second' WHERE show_id = $1", int(show_id)
        )
    finally:
        await database.close()


async def sweep(context: "ServiceContext", profile: cProfile.Profile | None) -> float:
    """Free the places of all expired holds. Return the duration (seconds)."""
    began = time.perf_counter()
    if profile is not None:
        profile.enable()
    ended = await context.resource(HoldExpiry).run_due()
    if profile is not None:
        profile.disable()
    if ended != HOLDS:
        raise RuntimeError(f"{ended} of {HOLDS} holds ended")
    return time.perf_counter() - began


def p99(times: list[float]) -> float:
    return statistics.quantiles(times, n=100)[98]


async def measured(url: str, server: psutil.Process) -> None:
    folder = Path(tempfile.mkdtemp())
    secret = {name: secrets.token_urlsafe(48) for name in ("SECRET_KEY", "SERVICE_SECRET")}
    os.environ |= {**secret, "DATABASE_URL": url, "DATA_DIR": str(folder)}
    ending, other, alone = [await make_show(tiers=2, rows=60) for _ in range(3)]
    profile = cProfile.Profile(time.process_time) if "--profile" in sys.argv else None
    async with seating() as host:
        context = host.contexts["seating"]
        writer = context.resource(HoldWriter)
        await fill(writer, ending)
        await end_all(url, ending)
        before = await times_until(asyncio.sleep(5), writer, other)
        spent, of_server = time.process_time(), processor_time(server)
        lasted = await sweep(context, profile)
        spent, of_server = time.process_time() - spent, processor_time(server) - of_server
        await fill(writer, alone)
        await end_all(url, alone)
        task = asyncio.create_task(sweep(context, None))
        during = await times_until(task, writer, other)
    each, of_server = spent / HOLDS * 1e6, of_server / HOLDS * 1e6
    print(f"{HOLDS:,} holds that expire at once, alone: {lasted:.1f} s")
    print(f"processor time of each: {each:.0f} µs, of PostgreSQL {of_server:.0f} µs")
    print(f"beside holds of another show: {task.result():.1f} s")
    for title, times in (("before", before), ("during", during)):
        print(
            f"others {title:<7} {len(times):>5} holds, p50 {statistics.median(times):6.1f} ms, p99 {p99(times):6.1f} ms"
        )
    print(f"p99 during to before: {p99(during) / p99(before):.2f}; at most 2 wanted, and 2 s.")
    if profile is not None:
        pstats.Stats(profile).sort_stats("cumtime").print_stats(90)


def main() -> None:
    import uvloop

    from portico.servers import PostgreSQLServer

    with PostgreSQLServer(durable=True, connections=50) as server:
        uvloop.run(measured(server.create_database(DATABASE), psutil.Process(server.pid)))


if __name__ == "__main__":
    main()
