"""Reservation of one hot product by 256 callers, compared with an ORM that locks the product's row, on PostgreSQL.

Run it with `python bench/stock.py`; it takes a minute and needs psycopg, the driver of the ORM service. Measured in
process, where callers are tasks of one event loop, and over HTTP, where one core runs the server and the other one the
callers. Rounds are interleaved: compare the ratios.
"""

import asyncio
import os
import secrets
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Self

import orjson
from catalog import LOADING, SERVING, Measure, free_port, interleaved, serving, table
from peers import orm_stock

from portico.contracts.catalog import ProductId, ReservationId

if TYPE_CHECKING:
    from portico.kit.runtime.host import Host

CALLERS = 256
SECONDS = 2.0
STOCK = 900_000_000
GOAL = 8.0  # times the row-locking ORM

Take = Callable[[], Awaitable[None]]


@asynccontextmanager
async def catalog(token: Path | None = None) -> AsyncIterator["Host"]:
    """Run catalog alone, as `portico run catalog` does. Write a service's token to the file `token`."""
    from portico.kit.auth.tokens import TokenFormat
    from portico.kit.auth.verification import KeyVerifier
    from portico.kit.foundation.clock import Clock
    from portico.kit.runtime.host import Host
    from portico.kit.settings import Environment
    from portico.services.catalog import service
    from portico.testing.issuer import Issuer
    from portico.testing.running_service import system_of

    clock, form = Clock(), TokenFormat(issuer="portico", audience="catalog")
    issuer = Issuer(clock, form)
    host = Host(
        system_of(service),
        Environment(dict(os.environ)),
        verifier_of=lambda _: KeyVerifier(issuer, form, clock),
        only=["catalog"],
    )
    async with host:
        if token is not None:
            await asyncio.to_thread(token.write_text, issuer.token("service:orders", lasting=3600))
        yield host


async def serve(port: int, token: str) -> None:
    from portico.kit.foundation.garbage_collection import tune_garbage_collection
    from portico.kit.runtime.serving import ServedApp, Servers, bind

    async with (
        catalog(Path(token)) as host,
        Servers([ServedApp("catalog", host.apps["catalog"], bind("127.0.0.1", port))], grace=1.0),
    ):
        tune_garbage_collection()
        await asyncio.to_thread(sys.stdin.read)


async def make_product(host: "Host") -> ProductId:
    from portico.services.catalog.products.schemas import ProductCreate
    from portico.services.catalog.products.service import create_product

    draft = ProductCreate(name="Hot", price=Decimal(1), category="hot", sku="HOT", stock_quantity=STOCK)
    async with host.contexts["catalog"].transaction() as work:
        return (await create_product(work, draft, actor="bench")).product_id


class Client:
    """A connection that reserves, reads the response, and reserves again."""

    def __init__(self, port: int, body: bytes, token: str = "") -> None:
        self._port = port
        self._rest = (
            f" HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def take(self) -> None:
        self._writer.write(f"PUT /inventory/reservations/{ReservationId.new()}".encode() + self._rest)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        body = await self._reader.readexactly(length)
        if b" 201 " not in head[:20]:
            raise RuntimeError(f"{head[:20]!r} {body!r}")


async def done_in(seconds: float, takes: list[Take]) -> float:
    """Return how often per second all of `takes`, each repeated, were done."""
    done = 0
    began = time.perf_counter()

    async def repeat(take: Take) -> None:
        nonlocal done
        while time.perf_counter() < began + seconds:
            await take()
            done += 1

    await asyncio.gather(*(repeat(take) for take in takes))
    return done / (time.perf_counter() - began)


def over_http(port: int, body: object, token: str = "") -> Measure:
    async def measure() -> float:
        async with AsyncExitStack() as open_ones:
            clients = [Client(port, orjson.dumps(body), token) for _ in range(CALLERS)]
            for client in clients:
                await open_ones.enter_async_context(client)
            return await done_in(SECONDS, [client.take for client in clients])

    return measure


async def in_process(url: str, host: "Host", product_id: ProductId) -> dict[str, Measure]:
    from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

    from portico.services.catalog.stock.writer import StockWriter

    engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"), pool_size=20, pool_timeout=60)
    writer = host.contexts["catalog"].resource(StockWriter)
    wanted = orm_stock.Wanted(product_id=product_id, quantity=1)

    async def orm() -> None:
        async with AsyncSession(engine, expire_on_commit=False) as session:
            await orm_stock.reserve_async(session, ReservationId.new(), wanted)

    async def ours() -> None:
        await writer.reserve(ReservationId.new(), {product_id: 1}, lasting=None, actor="service:orders")

    return {
        "ORM with a row lock, in process": lambda: done_in(SECONDS, [orm] * CALLERS),
        "Portico, in process": lambda: done_in(SECONDS, [ours] * CALLERS),
    }


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


async def measured(url: str) -> None:
    """Run the benchmark. `url` is the address of an empty database named bench_stock."""
    folder = Path(tempfile.mkdtemp())
    secret = {name: secrets.token_urlsafe(48) for name in ("SECRET_KEY", "SERVICE_SECRET")}
    os.environ |= {**secret, "DATABASE_URL": url.replace("bench_stock", "bench_{service}"), "DATA_DIR": str(folder)}
    theirs = {"DATABASE_URL": url.replace("postgresql:", "postgresql+psycopg:")}
    orm_server = (
        "-m",
        "uvicorn",
        "--no-access-log",
        "--log-level",
        "warning",
        "--factory",
        "peers.orm_stock:application",
    )
    ports = [free_port(), free_port()]
    token = folder / "token"
    async with AsyncExitStack() as stack:
        host = await stack.enter_async_context(catalog())
        product_id = await make_product(host)
        orm_stock.make_tables(theirs["DATABASE_URL"], product_id, STOCK)
        stack.enter_context(serving(__file__, str(ports[0]), str(token)))
        stack.enter_context(serving(*orm_server, "--port", str(ports[1]), **theirs))
        for port in ports:
            await answering(port)
        os.sched_setaffinity(0, {LOADING})
        item = {"product_id": product_id, "quantity": 1}
        measures = await in_process(url, host, product_id)
        measures |= {
            "ORM with a row lock, over HTTP": over_http(ports[1], item),
            "Portico, over HTTP": over_http(ports[0], {"items": [item]}, token.read_text()),
        }
        figures = await interleaved(measures)
    for where in ("in process", "over HTTP"):
        some = {name: figure for name, figure in figures.items() if where in name}
        table(f"reservations of one product, {CALLERS} callers", "/s", some, {"of the ORM": next(iter(some))})
    print(f"\nPortico has to reach {GOAL:g} times the ORM.")


def main() -> None:
    import uvloop

    from portico.servers import PostgreSQLServer

    if len(sys.argv) > 1:
        os.sched_setaffinity(0, {SERVING})
        uvloop.run(serve(int(sys.argv[1]), sys.argv[2]))
        return
    with PostgreSQLServer() as server:
        uvloop.run(measured(server.create_database("bench_stock")))


if __name__ == "__main__":
    main()
