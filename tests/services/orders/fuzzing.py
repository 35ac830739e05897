"""Orders for the generated requests to orders."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.services.orders.shop import open_orders

from portico.testing.databases import Databases
from portico.testing.fuzzing import Fuzzing


@asynccontextmanager
async def open_for_fuzzing(databases: Databases, _folder: Path) -> AsyncIterator[Fuzzing]:
    """Run orders with three orders that are being placed and one that is confirmed."""
    async with open_orders(databases) as orders:
        placed = [(await orders.place())["order_id"] for _ in range(3)]
        placed.append((await orders.place_and_confirm())["order_id"])
        token = orders.run.issuer.token
        bearers = [
            token(permissions=["*"], lasting=10_000_000),
            None,
            token("service:payments", permissions=["*"], lasting=10_000_000),
        ]
        yield Fuzzing(orders.run, bearers, known={"order_id": placed})
