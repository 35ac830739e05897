from collections.abc import AsyncIterator

import pytest
from tests.kit.sagas.library import Library, open_library

from portico.testing.databases import Databases


@pytest.fixture
async def library(databases: Databases) -> AsyncIterator[Library]:
    """Run the library, on each database in turn. Its sagas run only when the test runs them."""
    async with open_library(databases) as library:
        yield library


@pytest.fixture
async def embedded_library(sqlite_databases: Databases) -> AsyncIterator[Library]:
    """As `library`, on SQLite only, for tests that do not depend on the database."""
    async with open_library(sqlite_databases) as library:
        yield library
