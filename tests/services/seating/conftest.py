from collections.abc import AsyncIterator

import pytest
from tests.services.seating.support import SeatingService, open_seating

from portico.testing.databases import Databases


@pytest.fixture
async def seating(databases: Databases) -> AsyncIterator[SeatingService]:
    """Seating without shows, on SQLite, PostgreSQL and MariaDB."""
    async with open_seating(databases) as seating:
        yield seating


@pytest.fixture
async def embedded(sqlite_databases: Databases) -> AsyncIterator[SeatingService]:
    """Seating without shows on SQLite only, for tests that do not depend on the database."""
    async with open_seating(sqlite_databases) as seating:
        yield seating
