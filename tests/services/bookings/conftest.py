from collections.abc import AsyncIterator

import pytest
from tests.services.bookings.support import BookingsService, open_bookings

from portico.testing.databases import Databases


@pytest.fixture
async def bookings(databases: Databases) -> AsyncIterator[BookingsService]:
    """Bookings without any booking, on SQLite, PostgreSQL and MariaDB. The test runs the sagas."""
    async with open_bookings(databases) as bookings:
        yield bookings


@pytest.fixture
async def embedded(sqlite_databases: Databases) -> AsyncIterator[BookingsService]:
    """Bookings on SQLite only, for tests that do not depend on the database."""
    async with open_bookings(sqlite_databases) as bookings:
        yield bookings
