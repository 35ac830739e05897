"""The commerce system in the test's process, with accounts and a product."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from starlette.types import ASGIApp
from tests.gateway.proxy.servers import served

from portico.gateway_client import HttpTransport
from portico.kit import System
from portico.kit.settings import Environment
from portico.shop_client import ShopClient, kept_amount, order_draft, order_item
from portico.systems.commerce import commerce
from portico.systems.composition import Composition
from portico.testing.databases import SQLiteDatabases

TIMEOUT = 120.0  # seconds; a busy machine is slow
ADMIN = {"email": "admin@example.com", "password": "correct horse battery"}
PASSWORD = "a long enough password"
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
class Shop:
    """A running commerce system: its administrator, a customer, and a product at 12.50."""

    admin: ShopClient
    jane: ShopClient
    lamp: str
    apps: Mapping[str, ASGIApp]
    email: str = "jane@example.com"

    async def restocked(self) -> "Shop":
        """Return the same system with another customer and another product, for a test of its own."""
        number = secrets.token_hex(4)
        email = f"jane-{number}@example.com"
        jane = await self.admin.register(email, PASSWORD)
        return replace(self, jane=jane, lamp=await create_product(self.admin, f"LAMP-{number}", 5), email=email)

    async def order(self, quantity: int, method: str = "pm_ok") -> str:
        """Place an order of lamps as Jane; return its id."""
        return await self.jane.place_order(order_draft(order_item(self.lamp, quantity), payment_method=method))

    async def wait_for_stock(self, *, on_hand: int, reserved: int) -> None:
        """Wait until the stock of the lamp has this level."""
        await wait_for_stock(self.jane, self.lamp, on_hand=on_hand, reserved=reserved)

    async def kept_of(self, order_id: str) -> float:
        """Return the amount kept of an order."""
        return sum(map(kept_amount, await self.jane.get(f"/orders/{order_id}/payments")))


async def wait_for_stock(client: ShopClient, product_id: str, *, on_hand: int, reserved: int) -> None:
    """Wait until the stock of a product has this level."""
    async with asyncio.timeout(TIMEOUT):
        while True:
            found = await client.get(f"/inventory/{product_id}")
            if (found["on_hand"], found["reserved"]) == (on_hand, reserved):
                return


async def create_product(client: ShopClient, sku: str, pieces: int) -> str:
    """Create a product at 12.50; return its id."""
    return await client.create_product(
        {"name": "A lamp", "price": 12.5, "category": "lamps", "sku": sku, "stock_quantity": pieces}
    )


def served_gateway(whole: Composition) -> AbstractAsyncContextManager[str]:
    """Serve the gateway; the value is `host:port`."""
    return served(whole.apps["gateway"])


@asynccontextmanager
async def run_shop(
    variables: Mapping[str, str], front: Callable[[Composition], AbstractAsyncContextManager[str]] = served_gateway
) -> AsyncIterator[Shop]:
    """Run the whole system in this process, with five lamps and a customer, Jane.

    `front` serves the system; its value is the address (`127.0.0.1:8080`) that clients use.
    """
    if "DATABASE_URL" not in variables:
        await create_databases(commerce, variables["DATA_DIR"])
    async with AsyncExitStack() as stack:
        whole = await stack.enter_async_context(Composition(commerce, Environment({**SETTINGS, **variables})))
        address = await stack.enter_async_context(front(whole))
        anonymous = ShopClient(await stack.enter_async_context(HttpTransport(f"http://{address}")))
        admin = await anonymous.sign_in(**ADMIN)
        jane = await anonymous.register("jane@example.com", PASSWORD)
        yield Shop(admin, jane, await create_product(admin, "LAMP-1", 5), whole.apps)


async def create_databases(system: System, data_dir: str) -> None:
    """Create the embedded databases of a system from templates, which is faster than its migrations."""
    databases = SQLiteDatabases(Path(data_dir))
    for placement in system.placements:
        await databases.create_migrated(placement)
