from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.services.notifications.letters import Letters, opened

from portico.testing.databases import Databases


@pytest.fixture
async def letters(databases: Databases, tmp_path: Path) -> AsyncIterator[Letters]:
    """Notifications, on each of SQLite, PostgreSQL and MariaDB in turn."""
    async with opened(databases, tmp_path) as letters:
        yield letters


@pytest.fixture
async def embedded(sqlite_databases: Databases, tmp_path: Path) -> AsyncIterator[Letters]:
    """Notifications on SQLite alone, for what does not depend on the database."""
    async with opened(sqlite_databases, tmp_path) as letters:
        yield letters
