"""Holds of one show over HTTP by 256 callers, compared with pgbench updating one hot row, on PostgreSQL.

Run it with `python bench/holds.py`; it takes a minute. One core runs seating, as `portico run seating` does, the other
one the callers; PostgreSQL uses both. Each caller is a user with its own token and connection, and holds the best
available seat. pgbench's 256 clients decrement one row, in one transaction each. Rounds of both are interleaved:
compare the ratio. At the end the benchmark checks that no seat has two holders.
"""

import asyncio
import os
import re
import resource
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Self

import asyncpg
import orjson
import psutil
from catalog import LOADING, SERVING, free_port, interleaved, serving, table

from portico.contracts.events import SectionPlan, ShowCreated, ShowId
from portico.kit import UserId

if TYPE_CHECKING:
    from portico.kit.runtime.host import Host
    from portico.servers import PostgreSQLServer

CALLERS = 256
SECONDS = 2.0
HOT_ROW_TRANSACTIONS = 20  # for each client, after all have connected
VACUUM_WORKERS = 3  # maximum number of processes that PostgreSQL starts by itself
TIERS, ROWS, SEATS_PER_ROW = 10, 100, 100
GOAL = 4.0  # times pgbench's rate
GOAL_P99 = 100.0  # milliseconds
HOT_ROW = "UPDATE hot SET places = places - 1 WHERE id = 1;\n"
DATABASE = "bench_seating"


@asynccontextmanager
async def seating(tokens: Path | None = None) -> AsyncIterator["Host"]:
    """Run seating alone, as `portico run seating` does. Write a token for each caller to the file `tokens`."""
    from portico.kit.auth.tokens import TokenFormat
    from portico.kit.auth.verification import KeyVerifier
    from portico.kit.foundation.clock import Clock
    from portico.kit.runtime.host import Host
    from portico.kit.settings import Environment
    from portico.services.seating import service
    from portico.testing.issuer import Issuer
    from portico.testing.running_service import system_of

    clock, form = Clock(), TokenFormat(issuer="portico", audience="catalog")
    issuer = Issuer(clock, form)
    host = Host(
        system_of(service),
        Environment(dict(os.environ)),
        verifier_of=lambda _: KeyVerifier(issuer, form, clock),
        only=["seating"],
        background=tokens is not None,
    )
    async with host:
        if tokens is not None:
            made = [issuer.token(UserId.new(), lasting=3600) for _ in range(CALLERS)]
            await asyncio.to_thread(tokens.write_text, "\n".join(made))
        yield host


async def serve(port: int, tokens: str) -> None:
    from portico.kit.foundation.garbage_collection import tune_garbage_collection
    from portico.kit.runtime.serving import ServedApp, Servers, bind

    async with (
        seating(Path(tokens)) as host,
        Servers([ServedApp("seating", host.apps["seating"], bind("127.0.0.1", port))], grace=1.0),
    ):
        tune_garbage_collection()
        await asyncio.to_thread(sys.stdin.read)


async def make_show(*, tiers: int = TIERS, rows: int = ROWS) -> ShowId:
    """Create the tables and a show with rows of 100 seats, without a limit for its users."""
    from portico.services.seating.service import apply_event

    date = datetime.now(UTC) + timedelta(days=30)
    sections = tuple(
        SectionPlan(name=f"Tier {number}", rows=rows, seats_per_row=SEATS_PER_ROW) for number in range(1, tiers + 1)
    )
    event = ShowCreated(
        event_id=ShowId.new(),
        event_name="Hot",
        event_date=date,
        venue_name="Arena",
        time_zone="UTC",
        total_seats=tiers * rows * SEATS_PER_ROW,
        status="ON_SALE",
        sold_out_by_hand=False,
        sale_start_time=None,
        sale_end_time=date,
        price=Decimal(50),
        currency="USD",
        description=None,
        category=None,
        sections=sections,
        max_seats_per_user=1_000_000,
        orphan_rule="AVOID",
        waiting_room="OFF",
        cancellable_until=date,
        refund_percent=100,
        full_refund_until=None,
        revision=1,
    )
    async with seating() as host, host.contexts["seating"].transaction() as work:
        await apply_event(work, event)
    return ShowId(event.event_id)


class Caller:
    """A user who holds a seat, reads the response, and holds the next seat."""

    def __init__(self, port: int, show_id: ShowId, token: str, times: list[float]) -> None:
        body = orjson.dumps({"quantity": 1})
        self._port = port
        self._times = times
        self._request = (
            f"POST /inventory/{show_id}/holds HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def hold(self) -> None:
        began = time.perf_counter()
        self._writer.write(self._request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        body = await self._reader.readexactly(length)
        self._times.append((time.perf_counter() - began) * 1000)
        if b" 201 " not in head[:20]:
            raise RuntimeError(f"{head[:20]!r} {body!r}")


async def holds_in(seconds: float, callers: list[Caller]) -> float:
    """Return how many holds per second all callers took."""
    done = 0
    async with AsyncExitStack() as stack:
        for caller in callers:
            await stack.enter_async_context(caller)
        began = time.perf_counter()

        async def repeat(caller: Caller) -> None:
            nonlocal done
            while time.perf_counter() < began + seconds:
                await caller.hold()
                done += 1

        await asyncio.gather(*map(repeat, callers))
        return done / (time.perf_counter() - began)


async def hot_row(server: "PostgreSQLServer", script: Path) -> float:
    """Return how many transactions per second pgbench finished. Returns after pgbench's server processes have ended."""
    postgres = psutil.Process(server.pid)
    most = len(postgres.children()) + VACUUM_WORKERS
    done = await asyncio.create_subprocess_exec(
        *(
            "pgbench",
            "--no-vacuum",
            "--protocol=prepared",
            f"--client={CALLERS}",
            "--jobs=1",
            f"--transactions={HOT_ROW_TRANSACTIONS}",
        ),
        *(f"--file={script}", "--host=127.0.0.1", f"--port={server.port}", "--username=portico", "hot"),
        stdout=subprocess.PIPE,
        env={**os.environ, "PGPASSWORD": server.password},
    )
    output = (await done.communicate())[0].decode()
    found = re.search(r"tps = ([0-9.]+)", output)
    if done.returncode or found is None:
        raise RuntimeError(f"pgbench failed: {output}")
    for _ in range(1000):
        if len(postgres.children()) <= most:
            return float(found[1])
        await asyncio.sleep(0.01)  # their processor time must not count for the next round
    raise RuntimeError("the server processes of pgbench's connections did not end")


def processor_time(server: psutil.Process) -> float:
    """Return the processor time (s) of PostgreSQL's processes."""
    spent = sum(server.cpu_times()[:4])  # includes connections that have ended
    for each in server.children():
        with suppress(psutil.NoSuchProcess):  # the connection has ended
            spent += sum(each.cpu_times()[:2])
    return spent


@dataclass
class Spent:
    """Processor time of each process in the rounds of one kind of work.

    Args:
        service: process of the service; None if the work does not use it.
        server: PostgreSQL's first process.
    """

    service: psutil.Process | None
    server: psutil.Process
    rounds: int = 0
    seconds: Counter[str] = field(default_factory=Counter)

    async def round(self, work: Awaitable[float]) -> float:
        """Return the result of `work`. The first round is a warm-up and is not counted."""
        before = self._now()
        result = await work
        if self.rounds:
            self.seconds.update({name: seconds - before[name] for name, seconds in self._now().items()})
        self.rounds += 1
        return result

    def _now(self) -> dict[str, float]:
        client = resource.getrusage(resource.RUSAGE_SELF)
        pgbench = resource.getrusage(resource.RUSAGE_CHILDREN)
        return {
            "seating": sum(self.service.cpu_times()[:2]) if self.service else 0.0,
            "PostgreSQL": processor_time(self.server),
            "caller": client.ru_utime + client.ru_stime + pgbench.ru_utime + pgbench.ru_stime,
        }


def processor_table(spent: dict[str, tuple[Spent, int]]) -> None:
    """Print each process's processor time per operation. `spent` has the number of operations of each kind of work."""
    print(f"\n{'processor time of an operation, µs':<46}" + "".join(f"{name:>20}" for name in spent))
    for process in ("seating", "PostgreSQL", "caller"):
        figures = (each.seconds[process] / done * 1e6 for each, done in spent.values())
        print(f"{process:<46}" + "".join(f"{figure:>20.0f}" for figure in figures))


async def answering(port: int) -> None:
    for _ in range(300):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.1)
        else:
            writer.close()
            return
    raise RuntimeError(f"no server responds on port {port}")


async def check(url: str) -> None:
    """Print the number of holds and transactions. Raise RuntimeError if a seat has two holders or counts differ."""
    database = await asyncpg.connect(url)
    try:
        rows = await database.fetch("SELECT places FROM seating.holds")
        held = await database.fetchval("SELECT sum(held) FROM seating.sections")
        transactions = await database.fetchval("SELECT sum(version) FROM seating.shows")
    finally:
        await database.close()
    seats = [place[0] for row in rows for place in orjson.loads(row["places"])]
    if not len(seats) == len(set(seats)) == held:
        raise RuntimeError(f"{len(seats)} places are held, {len(set(seats))} different ones; the counts say {held}")
    print(f"\n{len(rows)} holds in {transactions} transactions, no seat has two holders.")


async def measured(server: "PostgreSQLServer") -> None:
    folder = Path(tempfile.mkdtemp())
    url = server.create_database(DATABASE)
    secret = {name: secrets.token_urlsafe(48) for name in ("SECRET_KEY", "SERVICE_SECRET")}
    os.environ |= {**secret, "DATABASE_URL": url, "DATA_DIR": str(folder)}
    hot = await asyncpg.connect(server.create_database("hot"))
    await hot.execute(
        "CREATE TABLE hot (id INTEGER PRIMARY KEY, places BIGINT NOT NULL); INSERT INTO hot VALUES (1, 0)"
    )
    await hot.close()
    script, tokens, port = folder / "hot.sql", folder / "tokens", free_port()
    script.write_text(HOT_ROW)
    show_id = await make_show()
    times: list[float] = []
    async with AsyncExitStack() as stack:
        process = stack.enter_context(serving(__file__, str(port), str(tokens)))
        await answering(port)
        os.sched_setaffinity(0, {LOADING})
        callers = [Caller(port, show_id, token, times) for token in tokens.read_text().splitlines()]
        postgres = psutil.Process(server.pid)
        peer, ours = Spent(None, postgres), Spent(process, postgres)
        before = 0

        async def hold_round() -> float:
            nonlocal before
            rate = await ours.round(holds_in(SECONDS, callers))
            if ours.rounds == 1:
                before = len(times)
            return rate

        figures = await interleaved(
            {
                "pgbench, one row": lambda: peer.round(hot_row(server, script)),
                "holds over HTTP": hold_round,
            }
        )
    table(f"holds of one show, {CALLERS} callers", "/s", figures, {"of the hot row": "pgbench, one row"})
    slowest = statistics.quantiles(times, n=100)[98]
    print(f"\np50 {statistics.median(times):.0f} ms, p99 {slowest:.0f} ms.")
    print(f"Portico has to reach {GOAL:g} times the hot row, with a p99 of {GOAL_P99:g} ms.")
    transactions = (peer.rounds - 1) * CALLERS * HOT_ROW_TRANSACTIONS
    processor_table({"pgbench": (peer, transactions), "holds": (ours, len(times) - before)})
    await check(url)


def main() -> None:
    import uvloop

    from portico.servers import PostgreSQLServer

    if len(sys.argv) > 1:
        os.sched_setaffinity(0, {SERVING})
        uvloop.run(serve(int(sys.argv[1]), sys.argv[2]))
        return
    with PostgreSQLServer(durable=True, connections=CALLERS + 50) as server:
        uvloop.run(measured(server))


if __name__ == "__main__":
    main()
