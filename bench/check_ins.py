"""Latency of check-ins at a high rate, compared with check-ins one at a time.

Run it with `python bench/check_ins.py`; it takes about two minutes. A show has 50,000 tickets. At the high rate
("rush") all visitors arrive within 15 minutes at random moments, 56 a second on average. Otherwise ("quiet") tickets
are scanned one after the other, with a pause. Rounds of both are interleaved. Compare the ratio of the 99th
percentiles; the goal is at most 2.

The service runs in this process, without sockets, on SQLite and then on PostgreSQL. The last column is the share of a
core that the process uses in the rush. If other programs leave it less than that, scans queue up and the ratio means
nothing.
"""

import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import uvloop
from sqlalchemy import insert

from portico.contracts.bookings import BookingId, TicketId
from portico.contracts.events import ShowId
from portico.contracts.seating import HoldId
from portico.kit import UserId
from portico.servers import PostgreSQLServer
from portico.services.bookings import service
from portico.services.bookings.models import Booking
from portico.services.bookings.tickets.domain import new_serial
from portico.services.bookings.tickets.models import Ticket
from portico.services.bookings.tickets.signing_keys import TicketKeys
from portico.testing.databases import Databases, ServerDatabases, SQLiteDatabases
from portico.testing.running_service import Caller, RunningService, run_service

TICKETS = 50_000
BATCH = 5_000
RATE = TICKETS / (15 * 60)  # scans a second
PAUSE = 0.03  # seconds between scans when it is quiet
WARM_UP = 100
ROUNDS = 3
QUIET, RUSH = 300, 700  # scans in a round
PERCENT = 99
GOAL = 2.0


async def codes(run: RunningService, chance: random.Random) -> Iterator[str]:
    """Return the codes of a show's tickets, in the order in which they are scanned."""
    show, now, user_id = ShowId.new(), run.clock.now(), UserId.new()
    booking = Booking(
        event_id=show,
        user_id=user_id,
        hold_id=HoldId.new(),
        is_own_hold=False,
        status="CONFIRMED",
        places=[],
        quantity=TICKETS,
        currency="USD",
        amount_minor=0,
        discount_minor=0,
        refunded_minor=0,
        created_at=now,
        updated_at=now,
    )
    await run.given(booking)
    rows = [_ticket(booking.booking_id, show, user_id, number, now) for number in range(TICKETS)]
    for start in range(0, TICKETS, BATCH):
        async with run.context.transaction() as work:
            await work.execute(insert(Ticket), rows[start : start + BATCH])
    scanned = chance.sample(rows, WARM_UP + ROUNDS * (QUIET + RUSH))
    keys = run.context.resource(TicketKeys)
    return iter(await keys.sign([(show, row["serial"]) for row in scanned]))


def _ticket(booking_id: BookingId, show: ShowId, user_id: UserId, number: int, now: Any) -> dict[str, Any]:
    return {
        "ticket_id": TicketId.new(),
        "booking_id": booking_id,
        "place": number,
        "event_id": show,
        "user_id": user_id,
        "section": "Stalls",
        "seat_id": f"1-A-{number + 1}",
        "serial": new_serial(),
        "status": "VALID",
        "price_minor": 4950,
        "created_at": now,
        "updated_at": now,
        "revision": 1,
    }


async def scan(gate: Caller, code: str) -> float:
    """Scan a code. Return the latency (ms)."""
    began = time.perf_counter()
    answer = await gate.post("/check-ins", json={"code": code, "gate": "North"})
    taken = time.perf_counter() - began
    if answer.status_code != 201:
        raise RuntimeError(f"a check-in failed: {answer.content!r}")
    return taken * 1000


async def quiet(gate: Caller, arriving: Iterator[str]) -> list[float]:
    """Scan one code after the other, with a pause."""
    times = []
    for _ in range(QUIET):
        await asyncio.sleep(PAUSE)
        times.append(await scan(gate, next(arriving)))
    return times


async def rush(gate: Caller, arriving: Iterator[str], chance: random.Random) -> list[float]:
    """Scan codes at random moments, whether or not the previous scans have been answered."""
    begun = asyncio.get_running_loop().time()
    scans = []
    due = begun
    for _ in range(RUSH):
        due += chance.expovariate(RATE)
        await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
        scans.append(asyncio.create_task(scan(gate, next(arriving))))
    return await asyncio.gather(*scans)


def percentile(times: list[float]) -> float:
    return statistics.quantiles(times, n=100)[PERCENT - 1]


async def measure(title: str, run: RunningService) -> None:
    chance = random.Random(7)  # the same visitors in each run
    arriving = await codes(run, chance)
    gate = run.as_user("check-ins:write")
    for _ in range(WARM_UP):
        await scan(gate, next(arriving))
    rounds, used = [], []
    for _ in range(ROUNDS):
        calm = await quiet(gate, arriving)
        began, cpu = time.perf_counter(), time.process_time()
        rounds.append((calm, await rush(gate, arriving, chance)))
        used.append((time.process_time() - cpu) / (time.perf_counter() - began) * 100)
    idle, busy = ([statistics.median(times) for times in side] for side in zip(*rounds, strict=True))
    idle_99, busy_99 = ([percentile(times) for times in side] for side in zip(*rounds, strict=True))
    ratio = statistics.median(busy_99) / statistics.median(idle_99)
    figures = (statistics.median(each) for each in (idle, busy, idle_99, busy_99))
    print(
        f"| {title} | {' | '.join(f'{each:.1f}' for each in figures)} | {ratio:.2f} | {statistics.median(used):.0f} % |",
        flush=True,
    )


@asynccontextmanager
async def services() -> AsyncIterator[list[tuple[str, RunningService]]]:
    """Run the service on SQLite and on PostgreSQL."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(PostgreSQLServer())
        databases: dict[str, Databases] = {
            "SQLite": SQLiteDatabases(folder / "databases"),
            "PostgreSQL": ServerDatabases(server, prefix="bench_"),
        }
        yield [
            (name, await stack.enter_async_context(run_service(service, each, background=False)))
            for name, each in databases.items()
        ]


async def main() -> None:
    print(f"{TICKETS:,} tickets; {RATE:.0f} check-ins a second in the rush; at most {GOAL:.0f} times as long.\n")
    print(
        "| database | quiet p50, ms | rush p50 | quiet p99 | rush p99 | rush / quiet p99 | of a core |\n|---|---|---|---|---|---|---|"
    )
    async with services() as running:
        for title, run in running:
            await measure(title, run)


if __name__ == "__main__":
    uvloop.run(main())
