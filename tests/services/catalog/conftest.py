from collections.abc import AsyncIterator

import pytest

from portico.services.catalog import service
from portico.testing.databases import Databases
from portico.testing.running_service import RunningService, run_service


@pytest.fixture
async def catalog(databases: Databases) -> AsyncIterator[RunningService]:
    """Catalog without products, on SQLite, PostgreSQL and MariaDB."""
    async with run_service(service, databases) as catalog:
        yield catalog


@pytest.fixture
async def embedded(sqlite_databases: Databases) -> AsyncIterator[RunningService]:
    """Catalog without products on SQLite only, for tests that do not depend on the database."""
    async with run_service(service, sqlite_databases) as catalog:
        yield catalog
