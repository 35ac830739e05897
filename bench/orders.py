"""Orders placed over HTTP and brought to `confirmed`, a second, beside pgbench that does the same writes.

The commerce system runs in one process (`portico up commerce`) on PostgreSQL, a schema for each service, and RabbitMQ.
As many callers as pgbench has clients place orders at its gateway, signed in, of one piece of one of many products each;
the time is that from the first request until the last order is confirmed. What pgbench does for an order is in
order_writes.sql: the same rows in the same transactions, in a copy of the same database; the table of rows tells. All
share the machine's cores.

The processor time an order is that of each side's processes; it varies less than the rates on a busy machine.

Run it with `python bench/orders.py`; `--orders 64 --rounds 1` for a look, `--callers 64` for more callers than clients.
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
PRODUCTS = 200
WANTED = 1.0  # times pgbench
OURS, THEIRS = "bench_orders", "bench_writes"
SCRIPT = Path(__file__).with_name("order_writes.sql")
LOOK = 0.05
MOST_WAITED = 600.0
COUNTED = 1.5  # seconds until PostgreSQL has counted what was written
LEFT_OUT = ("notifications", "identity", "public")

ROWS = """SELECT schemaname || '.' || relname, n_tup_ins, n_tup_upd, n_tup_del FROM pg_stat_user_tables
WHERE schemaname <> ALL($1) AND relname NOT IN ('leases', 'idempotency_keys')"""
TRANSACTIONS = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"


class Sides:
    """The shop and pgbench, one after the other on one server."""

    def __init__(self, shop: Shop, server: PostgreSQLServer, products: list[str], callers: int) -> None:
        self._callers = callers
        self._shop = shop
        self._server = server
        self._products = products

    async def ours(self, orders: int) -> float:
        """Orders confirmed a second."""
        database = await asyncpg.connect(self._server.url(OURS))
        counted = "SELECT count(*) FROM orders.orders WHERE status = 'confirmed'"
        try:
            goal = await database.fetchval(counted) + orders
            began = time.perf_counter()
            await self._shop.sell(self._products, orders, self._callers)
            async with asyncio.timeout(MOST_WAITED):
                while True:
                    if await database.fetchval(counted) >= goal:
                        break
                    await asyncio.sleep(LOOK)
            return orders / (time.perf_counter() - began)
        finally:
            await database.close()

    async def theirs(self, orders: int) -> float:
        """Runs of the script that pgbench ends a second."""
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
        return float(found[1])


class Processors:
    """Processor time of the shop, of PostgreSQL's and of RabbitMQ's processes."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop

    def used(self) -> dict[str, float]:
        """Return the processor seconds that each has used so far."""
        shop = psutil.Process(self._shop.pid)
        mine = psutil.Process().children(recursive=True)
        return {
            "Portico": _seconds([shop, *shop.children(recursive=True)]),
            "PostgreSQL": _seconds(each for each in mine if _name(each) == "postgres"),
            "RabbitMQ": _seconds(each for each in mine if _name(each) == "beam.smp"),
        }


def _name(process: psutil.Process) -> str | None:
    with suppress(psutil.NoSuchProcess):  # it has ended meanwhile
        return process.name()
    return None


def _seconds(processes: Iterable[psutil.Process]) -> float:
    total = 0.0
    for each in processes:
        with suppress(psutil.Error):
            times = each.cpu_times()
            total += times.user + times.system
            if each.ppid() == os.getpid():  # PostgreSQL's postmaster: connections that were closed meanwhile
                total += times.children_user + times.children_system
    return total


async def written(url: str) -> Counter[str]:
    """Rows and transactions that a database has counted so far."""
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
    """Give pgbench a copy of the shop's database, with a number for each product."""
    shop.stop()
    server.execute(f'CREATE DATABASE "{THEIRS}" TEMPLATE "{OURS}"')
    numbered = ", ".join(f"({number}, '{product_id}')" for number, product_id in enumerate(products, 1))
    server.execute("CREATE TABLE bench_products (number integer PRIMARY KEY, product_id text)", THEIRS)
    server.execute(f"INSERT INTO bench_products VALUES {numbered}", THEIRS)
    for schema in ("orders", "catalog", "payments"):
        server.execute(f"TRUNCATE {schema}.outbox", THEIRS)
    shop.start()


async def compare(sides: Sides, processors: Processors, server: PostgreSQLServer, asked: argparse.Namespace) -> None:
    await sides.ours(min(asked.orders, 100))
    await sides.theirs(min(asked.orders, 100))
    urls = (server.url(OURS), server.url(THEIRS))
    before = [await written(url) for url in urls]
    rounds, spent = [], []
    for _ in range(asked.rounds):
        used = [processors.used()]
        ours = await sides.ours(asked.orders)
        used.append(processors.used())
        rounds.append((ours, await sides.theirs(asked.orders)))
        used.append(processors.used())
        spent.append([{name: end[name] - begin[name] for name in end} for begin, end in pairwise(used)])
    after = [await written(url) for url in urls]
    ours, theirs = (statistics.median(each[place] for each in rounds) for place in (0, 1))
    print(f"{'orders confirmed':46}{'/s':>10}{'of pgbench':>14}")
    print(f"{f'pgbench, the same writes, {CLIENTS} clients':46}{theirs:10.1f}{1:14.2f}")
    print(f"{f'Portico, over HTTP, {asked.callers} callers':46}{ours:10.1f}{ours / theirs:14.2f}")
    print(f"\n{'processor ms an order':46}{'Portico':>10}{'pgbench':>14}")
    for name in spent[0][0]:
        of = [statistics.median(each[side][name] for each in spent) / asked.orders * 1000 for side in (0, 1)]
        print(f"{name:46}{of[0]:10.1f}{of[1]:14.1f}")
    print(f"\nPortico has to reach {WANTED:g} times pgbench.")
    changes = [after[place] - before[place] for place in (0, 1)]
    orders = [each["orders.orders inserted"] for each in changes]
    print(f"\n{'written for an order':46}{'Portico':>10}{'pgbench':>14}")
    for name in sorted({name for each in changes for name, count in each.items() if count}):
        figures = [each[name] / max(1, count) for each, count in zip(changes, orders, strict=True)]
        if max(figures) >= 0.01 and name != "transactions":
            print(f"{name:46}{figures[0]:10.2f}{figures[1]:14.2f}")


async def main(asked: argparse.Namespace) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(PostgreSQLServer())
        rabbitmq = stack.enter_context(RabbitMQServer())
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        variables = {"DATABASE_URL": server.create_database(OURS), "RABBITMQ_URL": rabbitmq.url()}
        shop = stack.enter_context(Shop(Path(folder), variables))
        products = await shop.create_products(PRODUCTS)
        copy(shop, server, products)
        await compare(Sides(shop, server, products, asked.callers), Processors(shop), server, asked)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--orders", type=int, default=1600, help="of a round")
    options.add_argument("--callers", type=int, default=CLIENTS, help="of Portico")
    uvloop.run(main(options.parse_args()))
