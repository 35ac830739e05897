"""The commerce system as a test meets it: people at its gateway, and a shop that has something to sell."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from tests.gateway.proxy.servers import served

from portico.kit.settings import Environment
from portico.systems.commerce import commerce
from portico.systems.composition import Composition

PATIENCE = 120.0
ADMIN = {"email": "admin@example.com", "password": "correct horse battery"}
ADDRESS = {"street": "1 Main St", "city": "Springfield", "state": "IL", "zip": "62701", "country": "US"}
SETTINGS = {
    "ADMIN_EMAIL": ADMIN["email"],
    "ADMIN_PASSWORD": ADMIN["password"],
    "IDENTITY_PASSWORD_PASSES": "1",
    "IDENTITY_PASSWORD_MEMORY_KIB": "64",
    "RATE_LIMIT": "10000/minute",
    "RATE_LIMIT_SIGN_IN": "1000/minute",
    "PAYMENTS_SIMULATED_SETTLEMENT": "0.2",
    "PAYMENTS_PROVIDER_TIMEOUT": "1",
}


@dataclass
class Person:
    """Somebody at the gateway, signed in."""

    client: aiohttp.ClientSession
    token: str

    async def asks(
        self, method: str, path: str, json: Any = None, more: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        """Send a request, with `more` headers; the status and the body."""
        headers = {"Authorization": f"Bearer {self.token}", **(more or {})}
        async with self.client.request(method, path, json=json, headers=headers) as answer:
            return answer.status, await answer.json(content_type=None) if answer.status != 204 else None

    async def gets(self, path: str) -> Any:
        status, found = await self.asks("GET", path)
        assert status == 200, found
        return found

    async def puts_up(self, sku: str, pieces: int) -> str:
        """Sell something new, at 12.50 each; its id."""
        product = {"name": "A lamp", "price": 12.5, "category": "lamps", "sku": sku, "stock_quantity": pieces}
        status, made = await self.asks("POST", "/products", product)
        assert status == 201, made
        product_id: str = made["product_id"]
        return product_id

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


async def registered(client: aiohttp.ClientSession, email: str) -> Person:
    """Somebody who has just opened an account."""
    account = {"email": email, "password": "a long enough password"}
    async with client.post("/register", json=account) as answer:
        assert answer.status == 201, await answer.text()
    return await signed_in(client, account)


@asynccontextmanager
async def in_this_process(variables: Mapping[str, str], through: Callable[[str], str] = str) -> AsyncIterator[Shop]:
    """A shop of the whole system in this process that has five lamps, and Jane, who may want some.

    People come to where `through` says, which is told where the gateway is: `127.0.0.1:8080`.
    """
    async with AsyncExitStack() as stack:
        whole = await stack.enter_async_context(Composition(commerce, Environment({**SETTINGS, **variables})))
        at = await stack.enter_async_context(served(whole.apps["gateway"]))
        client = await stack.enter_async_context(aiohttp.ClientSession(f"http://{through(at)}"))
        admin = await signed_in(client, ADMIN)
        yield Shop(admin, await registered(client, "jane@example.com"), await admin.puts_up("LAMP-1", 5))
