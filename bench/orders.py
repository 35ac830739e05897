"""Rate of orders placed over HTTP and confirmed, compared with pgbench doing the same writes.

The commerce system runs in one process (`portico up commerce`) on PostgreSQL, with a schema for each service, and
RabbitMQ. Signed-in callers place orders at its gateway, as many at a time as pgbench has clients. Each order has one
unit of one of many products. The rate counts from the first request until the last order is confirmed. For each order
pgbench runs order_writes.sql on a copy of the database: the same rows in the same transactions. The table of rows
shows whether both wrote the same. All processes share the machine's cores.

The processor time of an order is that of each side's processes, until the mails of all orders are sent. On a busy
machine it varies less than the rates.

First one caller places orders one at a time, to measure the time until the response and until the order is confirmed.

Run it with `python bench/orders.py`, which uses 64 and then 16 callers; `--orders 64 --rounds 1 --callers 16` for a
short run. PostgreSQL writes commits to the disk; `--not-durable` measures without that.
"""

import argparse
import asyncio
import os
import re
import statistics
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from itertools import pairwise
from pathlib import Path

import asyncpg
import psutil
import uvloop
from shop import Shop

from portico.servers import PostgreSQLServer, RabbitMQServer

CLIENTS = 16
CALLERS = (64, 16)
PRODUCTS = 200
WANTED = {64: 1.0, 16: 0.8}  # times pgbench, by number of callers
OURS, THEIRS = "bench_orders", "bench_writes"
SCRIPT = Path(__file__).with_name("order_writes.sql")
POLL = 0.05  # seconds
POLL_ALONE = 0.002  # seconds between checks whether a single order is confirmed
TIMEOUT = 600.0  # seconds
COUNTED = 1.5  # seconds until PostgreSQL's statistics include the last writes
LEFT_OUT = ("notifications", "identity", "public")

ROWS = """SELECT schemaname || '.' || relname, n_tup_ins, n_tup_upd, n_tup_del FROM pg_stat_user_tables
WHERE schemaname <> ALL($1) AND relname NOT IN ('leases', 'idempotency_keys')"""
CONFIRMED = "SELECT count(*) FROM orders.orders WHERE status = 'confirmed'"
MAILED = "SELECT count(*) FROM notifications.notifications WHERE status = 'sent'"
IS_CONFIRMED = "SELECT status = 'confirmed' FROM orders.orders WHERE order_id = $1"
SWITCHES = ("fsync", "synchronous_commit", "full_page_writes")
TRANSACTIONS = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"


class Sides:
    """The shop and pgbench, which run one after the other on one server."""

    def __init__(self, shop: Shop, server: PostgreSQLServer, products: list[str], callers: int) -> None:
        self.callers = callers
        self._shop = shop
        self._server = server
        self._products = products

    async def ours(self, orders: int) -> float:
        """Return the confirmed orders per second. Returns after their mails are sent, which else would disturb pgbench."""
        database = await asyncpg.connect(self._server.url(OURS))

        async def reach(counted: str, goal: int) -> None:
            async with asyncio.timeout(TIMEOUT):
                while True:
                    if await database.fetchval(counted) >= goal:
                        break
                    await asyncio.sleep(POLL)

        try:
            goal = await database.fetchval(CONFIRMED) + orders
            began = time.perf_counter()
            await self._shop.sell(self._products, orders, self.callers)
            await reach(CONFIRMED, goal)
            ended = time.perf_counter()
            await reach(MAILED, goal)  # each order has one mail
            return orders / (ended - began)
        finally:
            await database.close()

    async def alone(self, orders: int) -> tuple[list[float], list[float]]:
        """Return the seconds until each of `orders` orders was placed and confirmed, without any other order."""
        database = await asyncpg.connect(self._server.url(OURS))
        placed, confirmed = [], []
        try:
            async with self._shop.buyer() as buyer:
                for number in range(orders):
                    began = time.perf_counter()
                    order_id = await buyer.order(self._products[number % len(self._products)])
                    placed.append(time.perf_counter() - began)
                    async with asyncio.timeout(TIMEOUT):
                        while True:
                            if await database.fetchval(IS_CONFIRMED, order_id):
                                break
                            await asyncio.sleep(POLL_ALONE)
                    confirmed.append(time.perf_counter() - began)
        finally:
            await database.close()
        return placed, confirmed

    async def theirs(self, orders: int) -> float:
        """Return the orders per second that pgbench wrote. Returns after its connections are closed."""
        postgres = psutil.Process(self._server.pid)
        before = set(postgres.children())
        host = ("--host=127.0.0.1", f"--port={self._server.port}", "--username=portico")
        load = (
            f"--client={CLIENTS}",
            "--jobs=2",
            f"--transactions={max(1, orders // CLIENTS)}",
            f"--define=products={len(self._products)}",
        )
        done = await asyncio.create_subprocess_exec(
            *("pgbench", "--no-vacuum", "--protocol=prepared", *load, f"--file={SCRIPT}", *host, THEIRS),
            stdout=subprocess.PIPE,
            env={**os.environ, "PGPASSWORD": self._server.password},
        )
        output = (await done.communicate())[0].decode()
        found = re.search(r"tps = ([0-9.]+)", output)
        if done.returncode or found is None or "number of failed transactions: 0 " not in output:
            raise RuntimeError(f"pgbench failed: {output}")
        async with asyncio.timeout(TIMEOUT):
            while True:
                if before.issuperset(postgres.children()):
                    break
                await asyncio.sleep(POLL)
        return float(found[1])


class Processors:
    """Processor time of the processes of the shop, PostgreSQL and RabbitMQ."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop

    def used(self) -> dict[str, float]:
        """Return the processor time (seconds) that each has used so far."""
        shop = psutil.Process(self._shop.pid)
        mine = psutil.Process().children(recursive=True)
        return {
            "Portico": _seconds([shop, *shop.children(recursive=True)]),
            "PostgreSQL": _seconds(each for each in mine if _name(each) == "postgres"),
            "RabbitMQ": _seconds(each for each in mine if _name(each) == "beam.smp"),
        }


def _name(process: psutil.Process) -> str | None:
    with suppress(psutil.NoSuchProcess):  # the process has ended
        return process.name()
    return None


def _seconds(processes: Iterable[psutil.Process]) -> float:
    total = 0.0
    for each in processes:
        with suppress(psutil.Error):
            times = each.cpu_times()
            total += times.user + times.system
            if each.ppid() == os.getpid():  # PostgreSQL's first process, for closed connections
                total += times.children_user + times.children_system
    return total


async def written(url: str) -> Counter[str]:
    """Return the rows and transactions that a database has counted so far."""
    await asyncio.sleep(COUNTED)
    database = await asyncpg.connect(url)
    rows = await database.fetch(ROWS, LEFT_OUT)
    transactions = await database.fetchval(TRANSACTIONS)
    await database.close()
    found: Counter[str] = Counter({"transactions": transactions})
    for name, *counts in rows:
        for what, count in zip(("inserted", "updated", "deleted"), counts, strict=True):
            found[f"{name} {what}"] = count
    return found


def copy(shop: Shop, server: PostgreSQLServer, products: list[str]) -> None:
    """Copy the shop's database for pgbench, and number the products."""
    shop.stop()
    server.execute(f'CREATE DATABASE "{THEIRS}" TEMPLATE "{OURS}"')
    numbered = ", ".join(f"({number}, '{product_id}')" for number, product_id in enumerate(products, 1))
    server.execute("CREATE TABLE bench_products (number integer PRIMARY KEY, product_id text)", THEIRS)
    server.execute(f"INSERT INTO bench_products VALUES {numbered}", THEIRS)
    for schema in ("orders", "catalog", "payments"):
        server.execute(f"TRUNCATE {schema}.outbox", THEIRS)
    shop.start()


async def compare(sides: Sides, processors: Processors, server: PostgreSQLServer, options: argparse.Namespace) -> None:
    await sides.ours(min(options.orders, 100))
    await sides.theirs(min(options.orders, 100))
    urls = (server.url(OURS), server.url(THEIRS))
    before = [await written(url) for url in urls]
    rounds, spent = [], []
    for _ in range(options.rounds):
        used = [processors.used()]
        ours = await sides.ours(options.orders)
        used.append(processors.used())
        rounds.append((ours, await sides.theirs(options.orders)))
        used.append(processors.used())
        spent.append([{name: end[name] - begin[name] for name in end} for begin, end in pairwise(used)])
    after = [await written(url) for url in urls]
    ours, theirs = (statistics.median(each[place] for each in rounds) for place in (0, 1))
    print(f"\n{'orders confirmed':46}{'/s':>10}{'of pgbench':>14}")
    print(f"{f'pgbench, the same writes, {CLIENTS} clients':46}{theirs:10.1f}{1:14.2f}")
    print(f"{f'Portico, over HTTP, {sides.callers} callers':46}{ours:10.1f}{ours / theirs:14.2f}")
    if sides.callers in WANTED:
        print(f"Portico has to reach {WANTED[sides.callers]:g} times pgbench.")
    print(f"\n{'processor ms an order':46}{'Portico':>10}{'pgbench':>14}")
    for name in spent[0][0]:
        of = [statistics.median(each[side][name] for each in spent) / options.orders * 1000 for side in (0, 1)]
        print(f"{name:46}{of[0]:10.1f}{of[1]:14.1f}")
    show_rows([after[place] - before[place] for place in (0, 1)])


def show_rows(changes: list[Counter[str]]) -> None:
    orders = [each["orders.orders inserted"] for each in changes]
    print(f"\n{'written for an order':46}{'Portico':>10}{'pgbench':>14}")
    for name in sorted({name for each in changes for name, count in each.items() if count}):
        figures = [each[name] / max(1, count) for each, count in zip(changes, orders, strict=True)]
        if max(figures) >= 0.01 and name != "transactions":
            print(f"{name:46}{figures[0]:10.2f}{figures[1]:14.2f}")


async def show_switches(url: str) -> None:
    database = await asyncpg.connect(url)
    values = [f"{name} {await database.fetchval(f'SHOW {name}')}" for name in SWITCHES]
    await database.close()
    print(f"PostgreSQL, of both sides: {', '.join(values)}.")
    print("Portico: access log, metrics, rate limit and mails on (a mail is a file that is synced); no tracing.")
    print("pgbench: prepared statements, no vacuum before; no HTTP, no broker, no mails.")


async def show_one_alone(sides: Sides, orders: int) -> None:
    await sides.alone(min(orders, 10))
    print(f"\n{f'one order alone, ms, of {orders}':46}{'p50':>10}{'p99':>14}")
    for name, times in zip(("placed", "confirmed"), await sides.alone(orders), strict=True):
        cuts = statistics.quantiles(times, n=100, method="inclusive")
        print(f"{name:46}{cuts[49] * 1000:10.1f}{cuts[98] * 1000:14.1f}")


async def main(options: argparse.Namespace) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(PostgreSQLServer(durable=not options.not_durable))
        rabbitmq = stack.enter_context(RabbitMQServer())
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        variables = {"DATABASE_URL": server.create_database(OURS), "RABBITMQ_URL": rabbitmq.url()}
        shop = stack.enter_context(Shop(Path(folder), variables))
        products = await shop.create_products(PRODUCTS)
        copy(shop, server, products)
        await show_switches(server.url(OURS))
        if options.alone:
            await show_one_alone(Sides(shop, server, products, callers=1), options.alone)
        for callers in options.callers:
            await compare(Sides(shop, server, products, callers), Processors(shop), server, options)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--orders", type=int, default=1600, help="of a round")
    options.add_argument("--callers", type=int, nargs="*", default=CALLERS, help="of Portico, one after the other")
    options.add_argument("--alone", type=int, default=200, help="orders that are placed one at a time")
    options.add_argument("--not-durable", action="store_true", help="PostgreSQL does not wait for the disk")
    uvloop.run(main(options.parse_args()))
