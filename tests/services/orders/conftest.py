from collections.abc import AsyncIterator

import pytest
from tests.services.orders.shop import Orders, open_orders

from portico.testing.databases import Databases


@pytest.fixture
async def orders(databases: Databases) -> AsyncIterator[Orders]:
    """Orders with none placed yet, on each of SQLite, PostgreSQL and MariaDB in turn; sagas run when told to."""
    async with open_orders(databases) as orders:
        yield orders


@pytest.fixture
async def embedded(sqlite_databases: Databases) -> AsyncIterator[Orders]:
    """As `orders`, on SQLite: for what does not depend on the database."""
    async with open_orders(sqlite_databases) as orders:
        yield orders
