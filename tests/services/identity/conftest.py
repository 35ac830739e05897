from collections.abc import AsyncIterator

import pytest
from tests.services.identity.accounts import SYSTEM, VARIABLES, Identity

from portico.services.identity import service
from portico.testing.databases import Databases
from portico.testing.running_service import run_service


@pytest.fixture
async def identity(databases: Databases) -> AsyncIterator[Identity]:
    """Identity, on each database."""
    async with run_service(service, databases, variables=VARIABLES, system=SYSTEM) as run:
        yield Identity(run)


@pytest.fixture
async def embedded(sqlite_databases: Databases) -> AsyncIterator[Identity]:
    """Identity on SQLite only, for tests that do not depend on the database."""
    async with run_service(service, sqlite_databases, variables=VARIABLES, system=SYSTEM) as run:
        yield Identity(run)
