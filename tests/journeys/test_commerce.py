"""The commerce system whole, in one process, as a browser meets it: through the gateway, with a ticket for what is live."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.gateway.plane.serving import served

from portico.kit.environment import Environment
from portico.systems.commerce import commerce
from portico.systems.composition import Composition

PATIENCE = 30.0
ADMIN = {"email": "admin@example.com", "password": "correct horse battery"}
ADDRESS = {"street": "1 Main St", "city": "Springfield", "state": "IL", "zip": "62701", "country": "US"}
SETTINGS = {
    "ADMIN_EMAIL": ADMIN["email"],
    "ADMIN_PASSWORD": ADMIN["password"],
    "PASSWORD_PASSES": "1",
    "PASSWORD_MEMORY_KIB": "64",
    "RATE_LIMIT": "10000/minute",
    "RATE_LIMIT_SIGN_IN": "1000/minute",
    "SIMULATED_SETTLEMENT": "0.2",
    "PROVIDER_TIMEOUT": "1",
}


@dataclass
class Person:
    """Somebody at the gateway, signed in."""

    client: aiohttp.ClientSession
    token: str

    async def asks(self, method: str, path: str, json: Any = None) -> tuple[int, Any]:
        """Send a request; the status and the body."""
        headers = {"Authorization": f"Bearer {self.token}"}
        async with self.client.request(method, path, json=json, headers=headers) as answer:
            return answer.status, await answer.json(content_type=None) if answer.status != 204 else None

    async def gets(self, path: str) -> Any:
        status, found = await self.asks("GET", path)
        assert status == 200, found
        return found

    async def orders(self, product_id: str, quantity: int, method: str = "pm_ok") -> str:
        """Place an order; its id."""
        items = [{"product_id": product_id, "quantity": quantity}]
        body = {"items": items, "shipping_address": ADDRESS, "billing_address": ADDRESS, "payment_method": method}
        status, order = await self.asks("POST", "/orders", body)
        assert status == 201, order
        order_id: str = order["order_id"]
        return order_id

    async def follows(self, order_id: str, until: Collection[str]) -> dict[str, Any]:
        """Follow an order by a ticket, as a browser does, until it is one of `until`."""
        _, ticket = await self.asks("POST", "/auth/tickets")
        path = f"/orders/{order_id}/live?ticket={ticket['ticket']}"
        async with asyncio.timeout(PATIENCE), self.client.ws_connect(path) as socket:
            while True:
                told: dict[str, Any] = await socket.receive_json()
                if told["status"] in until:
                    return told

    async def until_stock_is(self, product_id: str, on_hand: int, reserved: int) -> None:
        """Wait until what follows an order has reached the stock."""
        async with asyncio.timeout(PATIENCE):
            while True:
                found = await self.gets(f"/inventory/{product_id}")
                if (found["on_hand"], found["reserved"]) == (on_hand, reserved):
                    return

    async def kept_of(self, order_id: str) -> float:
        """The money that is kept of an order."""
        payments = await self.gets(f"/orders/{order_id}/payments")
        return sum(each["amount"] - each["refunded"] for each in payments if each["status"] == "succeeded")


@dataclass
class Shop:
    admin: Person
    jane: Person
    lamp: str


async def signed_in(client: aiohttp.ClientSession, account: dict[str, str]) -> Person:
    async with client.post("/login", json=account) as answer:
        found = await answer.json()
        assert answer.status == 200, found
        return Person(client, found["access_token"])


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    """A shop that has five lamps, and somebody who may want some."""
    jane = {"email": "jane@example.com", "password": "a long enough password"}
    async with AsyncExitStack() as stack:
        environment = Environment({**SETTINGS, "DATA_DIR": str(tmp_path)})
        whole = await stack.enter_async_context(Composition(commerce, environment))
        at = await stack.enter_async_context(served(whole.apps["gateway"]))
        client = await stack.enter_async_context(aiohttp.ClientSession(f"http://{at}"))
        admin = await signed_in(client, ADMIN)
        lamp = {"name": "A lamp", "price": 12.5, "category": "lamps", "sku": "LAMP-1", "stock_quantity": 5}
        status, product = await admin.asks("POST", "/products", lamp)
        assert status == 201, product
        async with client.post("/register", json=jane) as answer:
            assert answer.status == 201
        yield Shop(admin, await signed_in(client, jane), product["product_id"])


class TestBuying:
    @pytest.mark.parametrize(
        "method", ["pm_ok", "pm_slow", "pm_error_then_ok", "pm_timeout_then_charged", "pm_duplicate_webhook"]
    )
    async def test_an_order_is_paid_once_and_its_stock_is_held(self, shop: Shop, method: str) -> None:
        order_id = await shop.jane.orders(shop.lamp, 2, method)

        told = await shop.jane.follows(order_id, ["confirmed", "failed"])

        assert told["status"] == "confirmed", await shop.admin.gets(f"/orders/{order_id}/timeline")
        await shop.jane.until_stock_is(shop.lamp, on_hand=5, reserved=2)
        assert await shop.jane.kept_of(order_id) == 25.0

    async def test_a_declined_card_holds_nothing(self, shop: Shop) -> None:
        order_id = await shop.jane.orders(shop.lamp, 2, "pm_declined")

        told = await shop.jane.follows(order_id, ["confirmed", "failed"])

        assert (told["status"], told["failure_reason"]) == ("failed", "payment_declined")
        await shop.jane.until_stock_is(shop.lamp, on_hand=5, reserved=0)
        assert await shop.jane.kept_of(order_id) == 0

    async def test_more_than_there_is_is_not_sold(self, shop: Shop) -> None:
        orders = [await shop.jane.orders(shop.lamp, 2) for _ in range(4)]

        ends = [await shop.jane.follows(order_id, ["confirmed", "failed"]) for order_id in orders]

        assert sorted(end["status"] for end in ends) == ["confirmed", "confirmed", "failed", "failed"]
        assert {end["failure_reason"] for end in ends} == {None, "insufficient_stock"}
        await shop.jane.until_stock_is(shop.lamp, on_hand=5, reserved=4)


class TestAfterwards:
    async def test_a_cancelled_order_gives_all_back(self, shop: Shop) -> None:
        order_id = await shop.jane.orders(shop.lamp, 2)
        await shop.jane.follows(order_id, ["confirmed"])

        status, order = await shop.jane.asks("POST", f"/orders/{order_id}/cancel")

        assert (status, order["status"]) == (200, "cancelled")
        await shop.jane.until_stock_is(shop.lamp, on_hand=5, reserved=0)
        assert await shop.jane.kept_of(order_id) == 0

    @pytest.mark.parametrize("method", ["pm_ok", "pm_slow", "pm_timeout_then_charged"])
    async def test_one_that_is_cancelled_while_it_is_placed_does_too(self, shop: Shop, method: str) -> None:
        order_id = await shop.jane.orders(shop.lamp, 2, method)

        status, _ = await shop.jane.asks("POST", f"/orders/{order_id}/cancel")
        told = await shop.jane.follows(order_id, ["cancelled", "failed"])

        assert (status in {200, 202}, told["status"]) == (True, "cancelled")
        await shop.jane.until_stock_is(shop.lamp, on_hand=5, reserved=0)
        assert await shop.jane.kept_of(order_id) == 0

    async def test_an_order_goes_out_and_comes_back(self, shop: Shop) -> None:
        order_id = await shop.jane.orders(shop.lamp, 2)
        await shop.jane.follows(order_id, ["confirmed"])

        for action, after in (("ship", (3, 0)), ("deliver", (3, 0)), ("return", (5, 0))):
            status, answer = await shop.admin.asks("POST", f"/orders/{order_id}/{action}")
            assert status == 200, answer
            await shop.jane.until_stock_is(shop.lamp, *after)

        told = await shop.jane.follows(order_id, ["returned"])
        assert told["status"] == "returned"
        assert await shop.jane.kept_of(order_id) == 0
        steps = {each["what"] for each in await shop.jane.gets(f"/orders/{order_id}/timeline")}
        assert {"reserve_stock", "take_payment", "confirm_stock", "take_out_of_stock", "put_back_into_stock"} <= steps


class TestMails:
    async def test_the_customer_is_written_to(self, shop: Shop) -> None:
        kept, called_off, declined = [
            await shop.jane.orders(shop.lamp, 1, method) for method in ("pm_ok", "pm_ok", "pm_declined")
        ]
        for order_id in (kept, called_off, declined):
            await shop.jane.follows(order_id, ["confirmed", "failed"])
        await shop.admin.asks("POST", f"/orders/{kept}/ship")
        await shop.jane.asks("POST", f"/orders/{called_off}/cancel")

        mails: list[dict[str, Any]] = []
        async with asyncio.timeout(PATIENCE):
            while len(mails) < 4:
                mails = await shop.admin.gets("/mailbox")

        assert sorted(mail["subject"] for mail in mails) == sorted(
            [
                f"Your order {kept} is confirmed",
                f"Your order {kept} is on its way",
                f"Your order {called_off} is confirmed",
                f"Your order {called_off} is cancelled",
            ]
        )
        assert {mail["recipient"] for mail in mails} == {"jane@example.com"}
        assert {each["order_id"] for each in await shop.jane.gets("/notifications")} == {kept, called_off}
        assert (await shop.jane.asks("GET", "/mailbox"))[0] == 403
