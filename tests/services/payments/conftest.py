from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from portico.services.payments import service
from portico.testing.databases import Databases
from portico.testing.running_service import RunningService, running

without_jobs = replace(service, jobs=())
"""The service as most tests have it: its jobs run when the test says so."""


@pytest.fixture
async def payments(databases: Databases) -> AsyncIterator[RunningService]:
    """Payments with none made yet, on each of SQLite, PostgreSQL and MariaDB in turn."""
    async with running(without_jobs, databases) as payments:
        yield payments


@pytest.fixture
async def embedded(sqlite_databases: Databases) -> AsyncIterator[RunningService]:
    """Payments with none made yet, on SQLite: for what does not depend on the database."""
    async with running(without_jobs, sqlite_databases) as payments:
        yield payments
