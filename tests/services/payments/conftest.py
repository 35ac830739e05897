from collections.abc import AsyncIterator

import pytest
from tests.services.payments.support import PROVIDER_TIMEOUT

from portico.services.payments import service
from portico.testing.databases import Databases
from portico.testing.running_service import RunningService, run_service

VARIABLES = {"PAYMENTS_PROVIDER_TIMEOUT": str(PROVIDER_TIMEOUT)}


@pytest.fixture
async def payments(databases: Databases) -> AsyncIterator[RunningService]:
    """Payments without background work and with an empty database, on SQLite, PostgreSQL and MariaDB."""
    async with run_service(service, databases, background=False, variables=VARIABLES) as payments:
        yield payments


@pytest.fixture
async def embedded(sqlite_databases: Databases) -> AsyncIterator[RunningService]:
    """Payments without background work and with an empty SQLite database, for tests that do not depend on the database."""
    async with run_service(service, sqlite_databases, background=False, variables=VARIABLES) as payments:
        yield payments
