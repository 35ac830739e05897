from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.services.notifications.support import NotificationsService, open_notifications

from portico.testing.databases import Databases


@pytest.fixture
async def notifications(databases: Databases, tmp_path: Path) -> AsyncIterator[NotificationsService]:
    """Notifications on SQLite, PostgreSQL and MariaDB."""
    async with open_notifications(databases, tmp_path) as notifications:
        yield notifications


@pytest.fixture
async def embedded(sqlite_databases: Databases, tmp_path: Path) -> AsyncIterator[NotificationsService]:
    """Notifications on SQLite only, for tests that do not depend on the database."""
    async with open_notifications(sqlite_databases, tmp_path) as notifications:
        yield notifications
