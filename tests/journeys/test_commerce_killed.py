"""The commerce system in many processes on servers of its own, some of which are killed while people buy."""

import contextlib
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.cli.running import Addresses, up
from tests.journeys.test_commerce import ADDRESS, ADMIN, SETTINGS

from portico.kit.servers import PostgreSQLServer, ProgramMissing, RedisServer
from portico.kit.testing.commands import Command, eventually, fetch, is_healthy

PARTS = ("gateway", "identity", "catalog", "orders", "payments", "notifications")
BUYERS = 4
ENOUGH = 60  # orders
STOCK = 50  # for some of them only
METHODS = itertools.cycle(["pm_ok", "pm_ok", "pm_declined", "pm_error_then_ok"])
LEASES = 90.0  # seconds; a step that died with its process is taken over once its lease has run out
ENDS = {"confirmed", "failed", "cancelled"}


class Buying:
    """People who go on buying and now and then think better of it, whatever becomes of the services."""

    def __init__(self, base: str, token: str, product_id: str) -> None:
        self.base = base
        self.headers = {"authorization": f"Bearer {token}"}
        self.product_id = product_id
        self.placed: list[str] = []
        self.done = threading.Event()

    def buy(self) -> None:
        while not self.done.is_set():
            item = {"product_id": self.product_id, "quantity": 2}
            body = {"items": [item], "shipping_address": ADDRESS, "billing_address": ADDRESS}
            with contextlib.suppress(OSError, ValueError):  # the gateway's 503s are answers; this is none
                status, order = self.ask("POST", "/orders", {**body, "payment_method": next(METHODS)})
                if status == 201:
                    self.placed.append(order["order_id"])
                    if len(self.placed) % 5 == 0:
                        self.ask("POST", f"/orders/{order['order_id']}/cancel")

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        return fetch(self.base + path, method=method, body=body, headers=self.headers)


def kill(system: Command, part: str) -> None:
    """End a service as a power cut would; `up` starts it again."""
    for child in system.children:
        with contextlib.suppress(psutil.NoSuchProcess):
            if any(f'"part": "{part}"' in word for word in child.cmdline()):
                child.kill()
                return
    pytest.fail(f"{part} does not run")


@pytest.mark.slow
class TestCommerceKilled:
    def test_every_order_settles_and_what_is_kept_and_held_fits(self, tmp_path: Path) -> None:
        _need_servers()
        at = Addresses.of(*PARTS)
        with up(tmp_path, "commerce", at, "--split", "--servers", variables=SETTINGS) as system:
            eventually(lambda: is_healthy(at["gateway"]), "the gateway", LEASES)
            buying = _opened(at["gateway"])
            with ThreadPoolExecutor(BUYERS) as buyers:
                for _ in range(BUYERS):
                    buyers.submit(buying.buy)
                try:
                    for number, part in enumerate(("orders", "payments", "orders", "catalog", "orders"), 1):
                        eventually(lambda so=number: len(buying.placed) >= so * ENOUGH // 5, "orders")  # type: ignore[misc]
                        kill(system, part)
                finally:
                    buying.done.set()

            orders = eventually(lambda: _settled(buying), "the end of every order", LEASES)

            assert {order["order_id"] for order in orders} >= set(buying.placed)
            standing = [order for order in orders if order["status"] == "confirmed"]
            assert standing
            held = sum(item["quantity"] for order in standing for item in order["items"])
            assert held <= STOCK
            eventually(
                lambda: _stock(buying) == (STOCK, held), "stock that is held for what stands, and no other", LEASES
            )
            for order in orders:
                kept = order["total"] if order["status"] == "confirmed" else 0
                eventually(lambda one=order, sum_=kept: _kept(buying, one) == sum_, "money that fits")  # type: ignore[misc]


def _need_servers() -> None:
    for kind in (PostgreSQLServer, RedisServer):
        try:
            kind(durable=False)
        except ProgramMissing as missing:
            pytest.skip(f"{kind.name}: {missing}")


def _opened(base: str) -> Buying:
    """A shop with some lamps; its administrator does the buying, and sees all orders."""
    _, found = fetch(base + "/login", method="POST", body=ADMIN)
    lamp = {"name": "A lamp", "price": 12.5, "category": "lamps", "sku": "LAMP-1", "stock_quantity": STOCK}
    headers = {"authorization": f"Bearer {found['access_token']}"}
    status, product = fetch(base + "/products", method="POST", body=lamp, headers=headers)
    assert status == 201, product
    return Buying(base, found["access_token"], product["product_id"])


def _settled(buying: Buying) -> list[dict[str, Any]] | None:
    with contextlib.suppress(OSError):
        status, orders = buying.ask("GET", "/orders?limit=1000")
        if status == 200 and all(order["status"] in ENDS for order in orders):
            found: list[dict[str, Any]] = orders
            return found
    return None


def _stock(buying: Buying) -> tuple[int, int] | None:
    status, found = buying.ask("GET", f"/inventory/{buying.product_id}")
    return (found["on_hand"], found["reserved"]) if status == 200 else None


def _kept(buying: Buying, order: dict[str, Any]) -> float:
    status, payments = buying.ask("GET", f"/orders/{order['order_id']}/payments")
    if status != 200:
        return -1.0
    return sum(each["amount"] - each["refunded"] for each in payments if each["status"] in {"succeeded", "voided"})
