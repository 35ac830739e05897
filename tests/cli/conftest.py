from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.cli.leaving import Leaving, leaving, readers, shelves, shelving

from portico.testing.clock import ManualClock
from portico.testing.databases import SQLiteDatabases
from portico.testing.running_service import run_service


@pytest.fixture
async def library(
    sqlite_databases: SQLiteDatabases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Leaving]:
    """The system of two services; no events are delivered between them. The commands' clock is the real one."""
    shelving.failing, shelving.seen = set(), []
    clock, tries = ManualClock(datetime.now(UTC)), {"EVENT_ATTEMPTS": "2"}
    async with (
        run_service(readers, sqlite_databases, system=leaving, clock=clock) as telling,
        run_service(shelves, sqlite_databases, system=leaving, clock=clock, variables=tries) as handling,
    ):
        library = Leaving(telling, handling, tmp_path, sqlite_databases.per_service())
        for name, value in {**library.variables, "COLUMNS": "200"}.items():
            monkeypatch.setenv(name, value)
        yield library
