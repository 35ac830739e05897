"""The commerce system on PostgreSQL and RabbitMQ, with products and a customer, for benchmarks of orders."""

import asyncio
import secrets
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Self

import orjson

from portico.gateway_client import HttpTransport
from portico.shop_client import ShopClient, order_draft, order_item
from portico.testing.commands import Command, eventually, free_ports, is_healthy

PARTS = ("gateway", "identity", "catalog", "orders", "payments", "notifications")
STARTING = 120.0  # seconds; five services migrate, perhaps on a busy machine
UNITS = 1_000_000
ADMIN = {"email": "admin@example.com", "password": "correct horse battery"}
CUSTOMER = {"email": "jane@example.com", "password": "a long enough password"}


class Shop:
    """`portico up commerce`, all in one process.

    Args:
        folder: working directory.
        variables: environment variables, such as the addresses of its servers.
    """

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self._folder = folder
        self._ports = dict(zip(PARTS, free_ports(len(PARTS)), strict=True))
        self._variables = {
            **{name: secrets.token_urlsafe(48) for name in ("SECRET_KEY", "SERVICE_SECRET", "PAYMENTS_WEBHOOK_SECRET")},
            "ADMIN_EMAIL": ADMIN["email"],
            "ADMIN_PASSWORD": ADMIN["password"],
            "RATE_LIMIT": "100000/second",
            "DATA_DIR": str(folder / "data"),
            **variables,
        }
        self._command: Command | None = None

    @property
    def gateway(self) -> str:
        return f"http://127.0.0.1:{self._ports['gateway']}"

    def address(self, part: str) -> str:
        """Return the address of a service or the gateway."""
        return f"http://127.0.0.1:{self._ports[part]}"

    def secret(self, name: str) -> str:
        """Return a secret of the system's settings."""
        return self._variables[name]

    def start(self) -> None:
        places = [f"--port={name}={port}" for name, port in self._ports.items()]
        self._command = Command(self._folder, "up", "commerce", *places, variables=self._variables)
        try:
            eventually(lambda: is_healthy(self.gateway) or None, self.gateway, STARTING)
        except BaseException:
            print(self._command.err, file=sys.stderr)
            self.kill()
            raise

    def kill(self) -> None:
        if self._command is not None:
            self._command.kill()
            self._command = None

    def stop(self) -> None:
        if self._command is not None:
            with self._command:
                self._command.stop()
            self._command = None

    @property
    def pid(self) -> int:
        if self._command is None:
            raise RuntimeError("the shop is closed")
        return self._command.process.pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def create_products(self, count: int) -> list[str]:
        """Create products with stock, and a customer; return the products' ids."""
        async with HttpTransport(self.gateway) as transport:
            anonymous = ShopClient(transport)
            await anonymous.register(**CUSTOMER)
            admin = await anonymous.sign_in(**ADMIN)
            return [
                await admin.create_product(
                    {
                        "name": f"Lamp {number}",
                        "price": 12.5,
                        "category": "lamps",
                        "sku": f"LAMP-{number}",
                        "stock_quantity": UNITS,
                    }
                )
                for number in range(count)
            ]

    async def sell(self, products: list[str], count: int, callers: int) -> None:
        """Place orders concurrently, of one unit of one product each."""
        token = await self._sign_in()
        left = iter(range(count))

        async def call(buyer: "Buyer") -> None:
            for number in left:
                await buyer.order(products[number % len(products)])

        async with AsyncExitStack() as stack:
            buyers = [await stack.enter_async_context(Buyer(self._ports["gateway"], token)) for _ in range(callers)]
            await asyncio.gather(*map(call, buyers))

    @asynccontextmanager
    async def buyer(self) -> AsyncIterator["Buyer"]:
        """Open a connection for the signed-in customer."""
        async with Buyer(self._ports["gateway"], await self._sign_in()) as buyer:
            yield buyer

    async def _sign_in(self) -> str:
        async with HttpTransport(self.gateway) as transport:
            return (await ShopClient(transport).sign_in(**CUSTOMER)).token


class Buyer:
    """A connection that places orders one after the other. It costs the client less processor time than ShopClient."""

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        self._head = (
            f"POST /orders HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        ).encode()

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def order(self, product_id: str) -> str:
        """Place an order of one unit. Return its id."""
        body = orjson.dumps(order_draft(order_item(product_id)))
        self._writer.write(self._head + b"%d\r\n\r\n" % len(body) + body)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        answer = await self._reader.readexactly(length)
        if b" 201 " not in head[:20]:
            raise RuntimeError(f"{head[:20]!r} {answer!r}")
        order_id: str = orjson.loads(answer)["order_id"]
        return order_id
