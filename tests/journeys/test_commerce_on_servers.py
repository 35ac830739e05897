"""The commerce system on PostgreSQL, Redis and RabbitMQ: in one process, and in processes that are killed."""

import asyncio
import itertools
import json
import secrets
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.cli.running import Addresses, up
from tests.journeys.shop import ADMIN, PASSWORD, SETTINGS, TIMEOUT, create_product, run_shop, wait_for_stock

from portico.cli.private_servers import ENVIRONMENT, FOLDER
from portico.gateway_client import ExpectationFailed, HttpTransport, RetryPolicy
from portico.servers import PostgreSQLServer, RabbitMQServer, RedisServer
from portico.shop_client import ShopClient, kept_amount, order_draft, order_item
from portico.testing.commands import Command, eventually, run_portico
from portico.testing.databases import Databases

PARTS = ("gateway", "identity", "catalog", "orders", "payments", "notifications")
SERVERS = ("redis", "rabbitmq", "postgresql")
METHODS = ("pm_ok", "pm_slow", "pm_error_then_ok", "pm_timeout_then_charged", "pm_duplicate_webhook", "pm_declined")
SETTLED = {"confirmed", "failed"}
LONG = 150.0  # seconds; seven processes and three servers on a busy machine
CUSTOMERS = 4


@pytest.mark.slow
class TestInOneProcess:
    @pytest.mark.parametrize("apart", ["schemas", "databases"])
    async def test_an_order_is_confirmed_and_its_customer_receives_a_mail(
        self,
        apart: str,
        postgresql_databases: Databases,
        redis_url: str,
        rabbitmq_server: RabbitMQServer,
        tmp_path: Path,
    ) -> None:
        variables = {
            "DATABASE_URL": postgresql_databases.fresh() if apart == "schemas" else postgresql_databases.per_service(),
            "REDIS_URL": redis_url,
            "RABBITMQ_URL": rabbitmq_server.url(),
            "DATA_DIR": str(tmp_path),
            **{name: secrets.token_urlsafe(48) for name in ("SECRET_KEY", "SERVICE_SECRET", "PAYMENTS_WEBHOOK_SECRET")},
        }
        async with run_shop(variables) as shop:
            order_id = await shop.order(2)

            last = await shop.jane.follow_order(order_id, SETTLED)

            assert last["status"] == "confirmed", await shop.admin.get(f"/orders/{order_id}/timeline")
            await shop.wait_for_stock(on_hand=5, reserved=2)
            async with asyncio.timeout(TIMEOUT):
                while not (mails := await shop.admin.get("/mailbox")):
                    pass
            assert [mail["recipient"] for mail in mails] == ["jane@example.com"]
        assert _names_in(tmp_path) == ["mailbox"]  # nothing else is embedded


@pytest.mark.slow
class TestKilled:
    @pytest.mark.parametrize("killed", [PARTS, SERVERS], ids=["processes", "servers"])
    async def test_every_order_settles_when_processes_or_servers_are_killed(
        self,
        killed: tuple[str, ...],
        postgresql_server: PostgreSQLServer,
        redis_server: RedisServer,
        rabbitmq_server: RabbitMQServer,
        tmp_path: Path,
    ) -> None:
        at = Addresses.of(*PARTS)
        with up(tmp_path, "commerce", at, "--split", "--servers", variables=SETTINGS) as system:
            await asyncio.to_thread(eventually, lambda: "Ctrl-C" in system.err, "the addresses", LONG)
            async with HttpTransport(at["gateway"]) as transport:
                shop = await _set_up(transport)

                over = asyncio.Event()
                async with asyncio.TaskGroup() as tasks:
                    buying = [tasks.create_task(shop.buys(number, over)) for number in range(CUSTOMERS)]
                    for name in killed:
                        if name in PARTS:
                            await asyncio.to_thread(_part_killed, system, name, at.ports[name])
                        else:
                            await asyncio.to_thread(_server_killed, system, tmp_path, name)
                    over.set()
                await shop.check([order_id for each in buying for order_id in each.result()])

            assert _dead_letters(tmp_path) == "[]"
            assert await asyncio.to_thread(system.stop) == 0


def _names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


class _Sale:
    """Concurrent orders of a plentiful and a scarce product."""

    def __init__(self, admin: ShopClient, customers: list[ShopClient], lamp: str, clock: str) -> None:
        self.admin = admin
        self.customers = customers
        self.products = {lamp: 1000, clock: 6}

    async def buys(self, number: int, over: asyncio.Event) -> list[str]:
        """Place orders one after the other, each after the previous one is settled, until `over` is set; return their ids."""
        placed = []
        for product_id, method in zip(itertools.cycle(self.products), itertools.cycle(METHODS), strict=False):
            if over.is_set() and len(placed) >= len(METHODS):
                break
            draft = order_draft(order_item(product_id), payment_method=method)
            placed.append(await self.customers[number].place_order(draft))
            await self._settled(placed[-1])
        return placed

    async def check(self, placed: list[str]) -> None:
        """Wait until stock, payments and mails of settled orders agree."""
        orders = await self.admin.get("/orders?limit=1000")
        assert {order["order_id"] for order in orders} == set(placed)  # none lost, and none placed twice
        assert {order["status"] for order in orders} == SETTLED
        confirmed = [order for order in orders if order["status"] == "confirmed"]
        held = Counter(order["items"][0]["product_id"] for order in confirmed)
        for product_id, pieces in self.products.items():
            await wait_for_stock(self.admin, product_id, on_hand=pieces, reserved=held[product_id])
            assert held[product_id] <= pieces
        for order in orders:
            await self._is_paid_once(order)
        async with asyncio.timeout(LONG):
            await self._mails({order["order_id"] for order in confirmed})

    async def _settled(self, order_id: str) -> None:
        async with asyncio.timeout(LONG):
            while True:
                try:
                    await self.admin.follow_order(order_id, SETTLED)
                except (ExpectationFailed, TimeoutError):
                    continue  # the gateway or a service was killed, and does not run yet
                return

    async def _is_paid_once(self, order: dict[str, Any]) -> None:
        payments = await self.admin.get(f"/orders/{order['order_id']}/payments")
        charged = [each for each in payments if each["status"] == "succeeded"]
        kept = sum(map(kept_amount, payments))
        assert len(charged) <= 1
        assert kept == (order["total"] if order["status"] == "confirmed" else 0), order

    async def _mails(self, confirmed: set[str]) -> None:
        mailed: list[str] = []
        while set(mailed) != confirmed:
            rows = await self.admin.get("/notifications?limit=1000")
            mailed = [each["order_id"] for each in rows if each["template"] == "order-confirmed" and each["sent_at"]]
        assert len(mailed) == len(confirmed)  # one each, even if an event was delivered twice


async def _set_up(transport: HttpTransport) -> _Sale:
    anonymous = ShopClient(transport, retry=RetryPolicy(within=LONG, max_delay=0.1))
    admin = await anonymous.sign_in(**ADMIN)
    customers = [await anonymous.register(f"customer{number}@example.com", PASSWORD) for number in range(CUSTOMERS)]
    return _Sale(
        admin, customers, await create_product(admin, "LAMP-1", 1000), await create_product(admin, "CLOCK-1", 6)
    )


def _server_killed(system: Command, folder: Path, server: str) -> None:
    """Kill a server, and wait until it serves again."""
    before = system.out.count("server_restarted")
    _server(folder, server).kill()
    eventually(lambda: system.out.count("server_restarted") > before, f"{server} again", LONG)


def _server(folder: Path, server: str) -> psutil.Process:
    return psutil.Process(json.loads((folder / ".portico" / FOLDER / f"{server}.json").read_text())["pid"])


def _part_killed(system: Command, part: str, port: int) -> None:
    """Kill a part's process, and wait until another has taken its place."""
    first = eventually(lambda: system.workers(part, port), f"a process of {part}", LONG)
    for each in first:
        each.kill()
    eventually(lambda: {*system.workers(part, port)} - {*first}, f"another process of {part}", LONG)


def _dead_letters(folder: Path) -> str:
    """Return the output of `portico dead-letters list` while the servers run."""
    lines = (folder / ".portico" / FOLDER / ENVIRONMENT).read_text().splitlines()
    variables: Mapping[str, str] = dict(line.split("=", 1) for line in lines)
    done = run_portico(folder, "dead-letters", "list", "--json", variables=variables)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
