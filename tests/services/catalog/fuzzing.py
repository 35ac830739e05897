"""Products and reservations for the generated requests to catalog."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.services.catalog.stock.support import apply_changes, create_reservation, create_stocked_product

from portico.services.catalog import service
from portico.testing.databases import Databases
from portico.testing.fuzzing import Fuzzing
from portico.testing.running_service import run_service


@asynccontextmanager
async def open_for_fuzzing(databases: Databases, _folder: Path) -> AsyncIterator[Fuzzing]:
    """Run catalog with products, and with reservations in several states."""
    async with run_service(service, databases) as catalog:
        products = [await create_stocked_product(catalog, 3) for _ in range(3)]
        reservations = [await create_reservation(catalog, {products[0]: 1}) for _ in range(3)]
        await apply_changes(catalog, reservations[1], "confirm")
        await apply_changes(catalog, reservations[2], "confirm", "ship")
        token = catalog.issuer.token
        bearers = [
            token(permissions=["*"], lasting=10_000_000),
            token("service:orders", permissions=["*"], lasting=10_000_000),
            None,
        ]
        yield Fuzzing(catalog, bearers, known={"product_id": products, "reservation_id": reservations})
