"""Latency of one order, placed and confirmed, while mails wait to be sent, compared with an empty mail queue.

The commerce system runs in one process on PostgreSQL and RabbitMQ. 500 mails are queued at once, as after an outage of
the mail server. One caller places orders one after the other until all mails are sent. The processor time of a mail is
that of the process and of PostgreSQL, without that of the orders. Run it with `python bench/mails.py`; `--rounds 1`
for a short run.
"""

import argparse
import asyncio
import shutil
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter

import asyncpg
import uvloop
from orders import OURS, Processors
from shop import CUSTOMER, Buyer, Shop

from portico.gateway_client import HttpTransport
from portico.servers import PostgreSQLServer, RabbitMQServer
from portico.shop_client import ShopClient

PRODUCTS = 20
ALONE = 60  # orders with an empty mail queue
CALLERS = 16
POLL = 0.002  # seconds
TIMEOUT = 300.0  # seconds
UNSENT = "SELECT count(*) FROM notifications.notifications WHERE status <> 'sent'"
CONFIRMED = "SELECT count(*) FROM orders.orders WHERE status = 'confirmed'"
QUEUE = """UPDATE notifications.notifications SET status = 'queued', tries = 0, sent_at = NULL, due_at = now(), waits_since = now()
WHERE notification_id IN (SELECT notification_id FROM notifications.notifications LIMIT $1)"""


class Caller:
    """Places one order at a time, and waits until it is confirmed."""

    def __init__(self, port: int, token: str, database: asyncpg.Connection, products: list[str]) -> None:
        self._port = port
        self._token = token
        self._database = database
        self._products = products
        self._number = 0

    async def order(self) -> float:
        """Place an order. Return the milliseconds until it is confirmed."""
        goal = await self._database.fetchval(CONFIRMED) + 1
        self._number += 1
        async with Buyer(self._port, self._token) as buyer:
            began = perf_counter()
            await buyer.order(self._products[self._number % len(self._products)])
        while True:
            if await self._database.fetchval(CONFIRMED) >= goal:
                break
            await asyncio.sleep(POLL)
        return (perf_counter() - began) * 1000


async def until_sent(database: asyncpg.Connection) -> None:
    async with asyncio.timeout(TIMEOUT):
        while True:
            if not await database.fetchval(UNSENT):
                break
            await asyncio.sleep(0.1)


async def behind_mails(caller: Caller, database: asyncpg.Connection, mailbox: Path, mails: int) -> list[float]:
    """Queue mails, and place orders until all mails are sent. Return the duration (ms) of each order."""
    await until_sent(database)
    shutil.rmtree(mailbox)
    await database.execute(QUEUE, mails)
    found: list[float] = []
    while await database.fetchval(UNSENT) > len(found) + 5:  # mails of the new orders do not count
        found.append(await caller.order())
    return found


async def compare(shop: Shop, server: PostgreSQLServer, mailbox: Path, options: argparse.Namespace) -> None:
    products = await shop.create_products(PRODUCTS)
    await shop.sell(products, options.mails, CALLERS)
    database = await asyncpg.connect(server.url(OURS))
    async with HttpTransport(shop.gateway) as transport:
        token = (await ShopClient(transport).sign_in(**CUSTOMER)).token
    processors = Processors(shop)
    caller = Caller(int(shop.gateway.rpartition(":")[2]), token, database, products)
    alone: list[float] = []
    behind: list[float] = []
    spent = 0.0
    for _ in range(options.rounds):
        await until_sent(database)
        used = [sum(processors.used().values())]
        alone += [await caller.order() for _ in range(ALONE)]
        await until_sent(database)
        used.append(sum(processors.used().values()))
        found = await behind_mails(caller, database, mailbox, options.mails)
        await until_sent(database)
        behind += found
        used.append(sum(processors.used().values()))
        spent += (used[2] - used[1] - (used[1] - used[0]) / ALONE * len(found)) / options.mails * 1000
    await database.close()
    print(f"{'an order alone, ms':40}{'p50':>8}{'p99':>8}{'orders':>8}")
    for name, taken in (("while no mail waits", alone), (f"while {options.mails} mails are sent", behind)):
        taken.sort()
        print(f"{name:40}{statistics.median(taken):8.1f}{taken[len(taken) * 99 // 100]:8.1f}{len(taken):8}")
    print(f"\nprocessor ms a mail, of all processes {spent / options.rounds:10.1f}")


async def main(options: argparse.Namespace) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(PostgreSQLServer())
        rabbitmq = stack.enter_context(RabbitMQServer())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        variables = {"DATABASE_URL": server.create_database(OURS), "RABBITMQ_URL": rabbitmq.url()}
        shop = stack.enter_context(Shop(folder, variables))
        await compare(shop, server, folder / "data" / "mailbox", options)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--mails", type=int, default=500)
    uvloop.run(main(options.parse_args()))
