"""The map of a hall of 50,000 seats, half of them sold, compared with FastAPI listing one row for each seat.

Run it with `python bench/seat_map.py`; it takes half a minute. Both are called in process, on SQLite, one request at a
time. Compare the processor time of a request. The map is built once for each version of a show, so the first request
of a version and later requests are measured separately.
"""

import os
import random
import secrets
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvloop
from catalog import table
from fastapi import FastAPI
from holds import make_show, seating
from pydantic import BaseModel
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from portico.contracts.events import ShowId
from portico.kit.calls.channel import Outgoing
from portico.kit.calls.local import LocalChannel

SEATS = 50_000
ASKED = 5
WANTED = 20.0  # times FastAPI listing rows
MAX_KIB, MAX_COMPRESSED_KIB = 64, 16


class Base(DeclarativeBase):
    pass


class SeatRow(Base):
    __tablename__ = "seats"

    seat_id: Mapped[str] = mapped_column(primary_key=True)
    section: Mapped[str]
    row: Mapped[str]
    number: Mapped[int]
    state: Mapped[str]


class Seat(BaseModel):
    seat_id: str
    section: str
    row: str
    number: int
    state: str


async def listing(folder: Path) -> FastAPI:
    """Return a FastAPI app that lists one row for each seat."""
    engine = create_async_engine(f"sqlite+aiosqlite:///{folder / 'listing.db'}")
    chance = random.Random(7)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with AsyncSession(engine) as session:
        for number in range(SEATS):
            section, row, seat = f"Tier {number // 5_000}", f"R{number // 100 % 50}", number % 100 + 1
            state = chance.choice("FS")
            session.add(SeatRow(seat_id=f"{number}", section=section, row=row, number=seat, state=state))
        await session.commit()
    app = FastAPI()

    @app.get("/seats", response_model=list[Seat])
    async def list_seats() -> Any:
        async with AsyncSession(engine) as session:
            return (await session.execute(select(SeatRow))).scalars().all()

    return app


async def sell_half(host: Any, show_id: ShowId) -> None:
    """Mark a random half of the seats as sold, without the rules of a sale."""
    from portico.services.seating.models import SeatBlock, Show

    chance = random.Random(7)
    async with host.contexts["seating"].transaction() as work:
        for block in (await work.execute(select(SeatBlock))).scalars():
            block.states = bytes(
                ord("S") if letter == ord("F") and chance.random() < 0.5 else letter for letter in block.states
            )
        await work.execute(update(Show).values(version=Show.version + 1).where(Show.show_id == show_id))


async def processor_time(act: Callable[[], Awaitable[Any]]) -> float:
    """Return the median processor time (milliseconds) of a call."""
    times = []
    for _ in range(ASKED):
        began = time.process_time()
        await act()
        times.append((time.process_time() - began) * 1000)
    return statistics.median(times)


async def measured() -> None:
    folder = Path(tempfile.mkdtemp())
    secret = {name: secrets.token_urlsafe(48) for name in ("SECRET_KEY", "SERVICE_SECRET")}
    os.environ |= {**secret, "DATABASE_URL": f"sqlite:///{folder}/{{service}}.db", "DATA_DIR": str(folder)}
    show_id = await make_show(tiers=10, rows=50)
    async with seating() as host:
        await sell_half(host, show_id)
        channel = LocalChannel({**host.apps, "listing": await listing(folder)})

        async def get(service: str, path: str, *headers: tuple[bytes, bytes]) -> bytes:
            out = Outgoing(
                service=service, method="GET", path=path, query=b"", headers=list(headers), body=b"", timeout=60
            )
            answer = await channel.send(out)
            if answer.status != 200:
                raise RuntimeError(f"{answer.status} {answer.body[:200]!r}")
            return answer.body

        async def build() -> None:
            from portico.services.seating.models import Show

            async with host.contexts["seating"].transaction() as work:
                await work.execute(update(Show).values(version=Show.version + 1))
            await get("seating", path)

        path = f"/inventory/{show_id}/seats"
        sizes = [len(await get("seating", path)), len(await get("seating", path, (b"accept-encoding", b"gzip")))]
        figures = {
            "FastAPI, a row for each seat": await processor_time(lambda: get("listing", "/seats")),
            "the first map of a version": await processor_time(build),
            "each further map": await processor_time(lambda: get("seating", path)),
        }
        await channel.aclose()
    table(f"a map of {SEATS:,} seats", "ms", figures, {"of FastAPI": "FastAPI, a row for each seat"})
    print(f"\n{sizes[0] / 1024:.1f} KiB, {sizes[1] / 1024:.1f} KiB compressed.")
    print(f"Wanted: at least {WANTED:g} times as fast, at most {MAX_KIB} and {MAX_COMPRESSED_KIB} KiB.")


def main() -> None:
    uvloop.run(measured())


if __name__ == "__main__":
    main()
