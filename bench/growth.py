"""Cost of requests with 1,000,000 products and 200,000 orders, compared with 10,000 products and 1,000 orders.

Two commerce systems run, each in one process, on two databases of one PostgreSQL server. Their rows are loaded by SQL.
Each request is sent to both in turn. The table has the median response time, PostgreSQL's processor time for each
request, and the ratio of the processor times. No cached response is measured, because each request has other
parameters.

The first page of a list counts its rows up to 10,000; with a search and a filter up to 1,000. After a count has
reached the limit, that list is not counted for ten seconds. A row marked "count" is counted at every request, because
each request has another filter. The small system has fewer rows than the limit, so the ratio of such a row ends at the
limit. With `--small 0.1` both systems have more rows than the limit. Pages behind a cursor are not counted.

Run it with `python bench/growth.py`; `--scale 0.02 --rounds 1` for a short run. It needs 6 GB of disk.
"""

import argparse
import asyncio
import re
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Self

import aiohttp
import asyncpg
import orjson
from growth_requests import ADMIN as ADMINISTRATOR
from growth_requests import JANE, PAGED, REQUESTS, SERVICE, Request, product
from growth_rows import load
from shop import ADMIN, CUSTOMER, Shop

from portico.kit.foundation.clock import Clock
from portico.kit.messaging.dead_letters import DeadLetterFilter, DeadLetters
from portico.kit.messaging.log import EventFilter, EventLog
from portico.kit.runtime.databases import open_database
from portico.kit.settings import Environment, Settings
from portico.servers import PostgreSQLServer
from portico.shop_client import order_draft, order_item
from portico.systems.commerce import commerce

SMALL, LARGE = (10_000, 1_000), (1_000_000, 200_000)
WANTED = 1.3
TIMES = 30
ORDERED = 24
IDLE = 10.0  # seconds
CACHE = "4GB"
SETTLED = 3.0  # seconds after the last confirmation, for the mails to be sent
Act = Callable[["Side", int], Awaitable[float]]


@dataclass
class Measured:
    """Response times and PostgreSQL's processor times (ms) of each round."""

    walls: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)


class Side:
    """A running system and its database.

    Args:
        shop: the system.
        url: address of its database.
        products: number of its products.
        orders: number of its orders.
    """

    def __init__(self, shop: Shop, url: str, products: int, orders: int) -> None:
        self.shop = shop
        self.url = url
        self.products = products
        self.orders = orders
        self.numbers = count(1)
        self.next_pages: dict[str, str] = {}
        self._tokens: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1))
        self._database = await asyncpg.connect(self.url)
        self._name = await self._database.fetchval("SELECT current_database()")
        self._own = await self._database.fetchval("SELECT pg_backend_pid()")
        for caller, credentials in ((ADMINISTRATOR, ADMIN), (JANE, CUSTOMER)):
            form = {"username": credentials["email"], "password": credentials["password"]}
            self._tokens[caller] = await self._sign_in("/login", form)
        secret = self.shop.secret("SERVICE_SECRET")
        form = {"grant_type": "client_credentials", "client_id": "orders", "client_secret": secret}
        self._tokens[SERVICE] = await self._sign_in("/oauth/token", form)
        for name, (caller, first) in PAGED.items():
            _, link = await self.send(Request(caller, first), 0)
            self.next_pages[name] = re.findall('<([^>]+)>; rel="next"', link)[0]
        databases = Environment({"DATABASE_URL": self.url}).read(Settings)
        self._opened = AsyncExitStack()
        opened = {
            name: await self._opened.enter_async_context(open_database(commerce.placement(name), databases))
            for name in ("orders", "notifications")
        }
        self.log = EventLog(opened["orders"], Clock())
        self.dead_letters = DeadLetters("notifications", opened["notifications"], Clock())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._opened.aclose()
        await self._session.close()
        await self._database.close()

    async def _sign_in(self, path: str, form: dict[str, str]) -> str:
        async with self._session.post(self.shop.address("identity") + path, data=form) as response:
            found = await response.json()
            if "access_token" not in found:
                raise RuntimeError(f"{path}: {found}")
            return str(found["access_token"])

    async def send(self, kind: Request, number: int) -> tuple[float, str]:
        """Send a request. Return the response time (seconds) and the response's Link header."""
        path = kind.path_of(self, number)
        body = None if kind.body is None else orjson.dumps(kind.body(self, number))
        headers = {"authorization": f"Bearer {self._tokens[kind.caller]}"} if kind.caller else {}
        if body is not None:
            headers["content-type"] = "application/json"
        began = time.perf_counter()
        address = self.shop.address(kind.part) + path
        async with self._session.request(kind.method, address, data=body, headers=headers) as response:
            found = await response.read()
        if not response.ok:
            raise RuntimeError(f"{kind.method} {path}: {response.status} {found[:500]!r}")
        return time.perf_counter() - began, response.headers.get("link", "")

    async def processor_time(self) -> float:
        """Return the processor time (seconds) of the connections of this database."""
        rows = await self._database.fetch("SELECT pid FROM pg_stat_activity WHERE datname = $1", self._name)
        return sum(_processor_time(row["pid"]) for row in rows if row["pid"] != self._own)

    async def wait_until_confirmed(self) -> None:
        """Wait until every order has a final status and its mail is sent."""
        unsettled = "SELECT count(*) FROM orders.orders WHERE status IN ('pending', 'reserved', 'paid')"
        async with asyncio.timeout(120.0):
            while await self._database.fetchval(unsettled):  # noqa: ASYNC110  another process changes it
                await asyncio.sleep(0.5)
        await asyncio.sleep(SETTLED)


def _processor_time(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    except (OSError, IndexError):
        return 0.0


def request(kind: Request) -> Act:
    async def act(side: Side, number: int) -> float:
        took, _ = await side.send(kind, number)
        return took

    return act


def timed(work: Callable[[Side], Awaitable[Any]]) -> Act:
    async def act(side: Side, _number: int) -> float:
        began = time.perf_counter()
        await work(side)
        return time.perf_counter() - began

    return act


async def be_idle(_side: Side, _number: int) -> float:
    """Send nothing for some seconds, to measure the cost of jobs, polls and leases."""
    await asyncio.sleep(IDLE)
    return IDLE


PLACING, IDLING = "an order, until its mail is sent", "ten seconds without requests"
ACTS: dict[str, Act] = {
    **{name: request(kind) for name, kind in REQUESTS.items()},
    "newest events of the log": timed(lambda side: side.log.newest(EventFilter(), limit=20)),
    "events of an order": timed(lambda side: side.log.newest(EventFilter(aggregate=f"ord_{500:026d}"), limit=20)),
    "events of a type": timed(lambda side: side.log.newest(EventFilter(types=("order.created",)), limit=20)),
    "dead letters": timed(lambda side: side.dead_letters.page(DeadLetterFilter(), limit=20)),
    PLACING: request(
        Request(JANE, "/orders", "POST", lambda side, number: order_draft(order_item(product(side, number))))
    ),
    IDLING: be_idle,
}
REPEATED = {PLACING: ORDERED, IDLING: 1}


async def measure(side: Side, name: str, act: Act, measured: Measured) -> None:
    """Repeat an operation. Add its median time and its processor time to `measured`."""
    times = REPEATED.get(name, TIMES)
    began = await side.processor_time()
    walls = [await act(side, next(side.numbers)) for _ in range(times)]
    if name == PLACING:
        await side.wait_until_confirmed()
    spent = await side.processor_time() - began
    measured.walls.append(statistics.median(walls) * 1000)
    measured.processor.append(spent / times * 1000)


async def compare(small: Side, large: Side, rounds: int, chosen: list[str]) -> None:
    """Measure everything on both sides in turn. Print a line for each."""
    print(f"{'':44}{'wall ms p50':>20}{'PostgreSQL ms':>20}{'ratio':>8}", flush=True)
    async with small, large:
        for name, act in ACTS.items():
            if not any(words in name for words in chosen):
                continue
            sides = {side: Measured() for side in (small, large)}
            for side in sides:
                await act(side, next(side.numbers))  # plans and pages are in caches afterwards
            for _ in range(rounds):
                for side, measured in sides.items():
                    await measure(side, name, act, measured)
            one, other = sides.values()
            cost, grown = statistics.median(one.processor), statistics.median(other.processor)
            walls = f"{statistics.median(one.walls):>10.2f}{statistics.median(other.walls):>10.2f}"
            ratio = grown / cost if cost else float("nan")
            mark = " *" if ratio > WANTED else ""
            print(f"{name:44}{walls}{cost:>10.3f}{grown:>10.3f}{ratio:>8.2f}{mark}", flush=True)


def prepare(stack: ExitStack, server: PostgreSQLServer, name: str, products: int, orders: int) -> Side:
    """Start a system on a new database with the given number of rows."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    url = server.create_database(name)
    shop = Shop(folder, {"DATABASE_URL": url})
    stack.enter_context(shop)
    asyncio.run(_fill(shop, url, products, orders))
    return Side(shop, url, products, orders)


async def _fill(shop: Shop, url: str, products: int, orders: int) -> None:
    await shop.create_products(0)  # and the customer
    database = await asyncpg.connect(url)
    try:
        jane = await database.fetchval("SELECT user_id FROM identity.users WHERE email = $1", CUSTOMER["email"])
    finally:
        await database.close()
    await load(url, products=products, orders=orders, jane=jane)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", type=float, default=1.0, help="share of the large system's rows")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=[""], help="words in the names of what is measured")
    parser.add_argument("--small", type=float, help="share of the large system's rows in the small one")
    chosen = parser.parse_args()
    products, orders = (int(number * chosen.scale) for number in LARGE)
    fewer = SMALL if chosen.small is None else (int(products * chosen.small), int(orders * chosen.small))
    with ExitStack() as stack:
        server = stack.enter_context(PostgreSQLServer())
        server.execute("ALTER SYSTEM SET autovacuum = off")
        server.execute(
            f"ALTER SYSTEM SET shared_buffers = '{CACHE}'"
        )  # both systems are in memory, as the small one is
        server.restart()
        small = prepare(stack, server, "growth_small", *fewer)
        large = prepare(stack, server, "growth_large", products, orders)
        print(f"{fewer[0]:,} products and {fewer[1]:,} orders, beside {products:,} and {orders:,}")
        asyncio.run(compare(small, large, chosen.rounds, chosen.only))


if __name__ == "__main__":
    main()
