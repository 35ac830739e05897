from collections.abc import AsyncIterator

import pytest
from tests.examples.loans import service

from portico.testing.databases import Databases
from portico.testing.running_service import RunningService, run_service


@pytest.fixture
async def loans(databases: Databases) -> AsyncIterator[RunningService]:
    """Run the example service, on each database in turn."""
    async with run_service(service, databases) as loans:
        yield loans


@pytest.fixture
async def embedded_loans(sqlite_databases: Databases) -> AsyncIterator[RunningService]:
    """Run the example service on SQLite only, for tests that do not depend on the database."""
    async with run_service(service, sqlite_databases) as loans:
        yield loans
