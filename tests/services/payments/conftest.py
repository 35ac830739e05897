from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from portico.services.payments import service
from portico.testing.databases import Databases
from portico.testing.running_service import RunningService, running

without_jobs = replace(service, jobs=())
"""The service without scheduled jobs; tests run them explicitly."""


@pytest.fixture
async def payments(databases: Databases) -> AsyncIterator[RunningService]:
    """Payments with an empty database, on SQLite, PostgreSQL and MariaDB."""
    async with running(without_jobs, databases) as payments:
        yield payments


@pytest.fixture
async def embedded(sqlite_databases: Databases) -> AsyncIterator[RunningService]:
    """Payments with an empty SQLite database, for tests that do not depend on the database."""
    async with running(without_jobs, sqlite_databases) as payments:
        yield payments
