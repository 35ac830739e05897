from collections.abc import AsyncIterator

import pytest
from tests.kit.sagas.library import Library, open_library

from portico.testing.databases import Databases


@pytest.fixture
async def library(databases: Databases) -> AsyncIterator[Library]:
    """The library, on each database in turn; its sagas run when the test says so."""
    async with open_library(databases) as library:
        yield library


@pytest.fixture
async def embedded_library(sqlite_databases: Databases) -> AsyncIterator[Library]:
    """The same on SQLite alone, for what does not concern the database."""
    async with open_library(sqlite_databases) as library:
        yield library
