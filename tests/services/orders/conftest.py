from collections.abc import AsyncIterator

import pytest
from tests.services.orders.shop import Orders, open_orders

from portico.testing.databases import Databases


@pytest.fixture
async def orders(databases: Databases) -> AsyncIterator[Orders]:
    """Orders without any order, on SQLite, PostgreSQL and MariaDB. The test runs the sagas."""
    async with open_orders(databases) as orders:
        yield orders


@pytest.fixture
async def embedded(sqlite_databases: Databases) -> AsyncIterator[Orders]:
    """Orders on SQLite only, for tests that do not depend on the database."""
    async with open_orders(sqlite_databases) as orders:
        yield orders
