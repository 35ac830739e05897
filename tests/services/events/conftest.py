from collections.abc import AsyncIterator

import pytest
from tests.services.events.support import EventsService, open_events

from portico.testing.databases import Databases


@pytest.fixture
async def events(databases: Databases) -> AsyncIterator[EventsService]:
    """Events without background work and with an empty database, on SQLite, PostgreSQL and MariaDB."""
    async with open_events(databases) as events:
        yield events


@pytest.fixture
async def embedded(sqlite_databases: Databases) -> AsyncIterator[EventsService]:
    """Events without background work and with an empty SQLite database, for tests that do not depend on the database."""
    async with open_events(sqlite_databases) as events:
        yield events
