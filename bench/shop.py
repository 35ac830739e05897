"""The commerce system on PostgreSQL and RabbitMQ, with products and a customer, for the benchmark of orders."""

import asyncio
import secrets
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

import orjson

from portico.testing.commands import Command, eventually, fetch, free_ports, is_healthy

PARTS = ("gateway", "identity", "catalog", "orders", "payments", "notifications")
STARTING = 120.0  # seconds; migrations of five services, on a machine that may do much else
PIECES = 1_000_000
ADMIN = {"email": "admin@example.com", "password": "correct horse battery"}
CUSTOMER = {"email": "jane@example.com", "password": "a long enough password"}
ADDRESS = {"street": "1 Main St", "city": "Springfield", "state": "IL", "zip": "62701", "country": "US"}


class Shop:
    """`portico up commerce`, all in one process.

    Args:
        folder: where it runs.
        variables: of its environment: where its servers are.
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

    def asks(self, method: str, path: str, body: Any, token: str = "") -> Any:
        """The body of the answer. Raises RuntimeError where it is none of success."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        status, found = fetch(self.gateway + path, method=method, body=body, headers=headers)
        if status >= 300:
            raise RuntimeError(f"{method} {path}: {status} {found}")
        return found

    def token_of(self, account: Mapping[str, str]) -> str:
        token: str = self.asks("POST", "/login", account)["access_token"]
        return token

    def put_up(self, count: int) -> list[str]:
        """Have so many products in stock, and a customer; the products' ids."""
        token = self.token_of(ADMIN)
        self.asks("POST", "/register", CUSTOMER)
        return [
            self.asks(
                "POST",
                "/products",
                {
                    "name": f"Lamp {number}",
                    "price": 12.5,
                    "category": "lamps",
                    "sku": f"LAMP-{number}",
                    "stock_quantity": PIECES,
                },
                token,
            )["product_id"]
            for number in range(count)
        ]

    async def sell(self, products: list[str], count: int, callers: int) -> None:
        """Have so many orders placed by so many callers at once, of one piece of a product each."""
        token = await asyncio.to_thread(self.token_of, CUSTOMER)
        left = iter(range(count))

        async def call(buyer: "Buyer") -> None:
            for number in left:
                await buyer.order(products[number % len(products)])

        async with AsyncExitStack() as stack:
            buyers = [await stack.enter_async_context(Buyer(self._ports["gateway"], token)) for _ in range(callers)]
            await asyncio.gather(*map(call, buyers))


class Buyer:
    """One connection that places an order, reads the answer, and places another one."""

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

    async def order(self, product_id: str) -> None:
        body = orjson.dumps(
            {
                "items": [{"product_id": product_id, "quantity": 1}],
                "shipping_address": ADDRESS,
                "billing_address": ADDRESS,
                "payment_method": "pm_ok",
            }
        )
        self._writer.write(self._head + b"%d\r\n\r\n" % len(body) + body)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        answer = await self._reader.readexactly(length)
        if b" 201 " not in head[:20]:
            raise RuntimeError(f"{head[:20]!r} {answer!r}")
