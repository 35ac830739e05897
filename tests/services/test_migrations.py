"""The migrations of every shipped service create the tables of its models, and remove them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.services.shipped import shipped_services

from portico.testing.databases import Databases
from portico.testing.migrations import differences, tables_after_downgrade
from portico.testing.running_service import RunningService, run_service

SERVICES = shipped_services()


@pytest.fixture(params=[name for name, service in SERVICES.items() if service.tables is not None])
async def service(
    request: pytest.FixtureRequest, databases: Databases, tmp_path: Path
) -> AsyncIterator[RunningService]:
    """Each service that has tables, migrated, on SQLite, PostgreSQL and MariaDB."""
    variables = {"DATA_DIR": str(tmp_path)}
    async with run_service(
        SERVICES[request.param], databases, variables=variables, background=False, template=False
    ) as service:
        yield service


class TestMigrations:
    async def test_create_the_tables_of_the_models(self, service: RunningService) -> None:
        assert await differences(service) == []

    async def test_can_be_reverted(self, service: RunningService) -> None:
        assert await tables_after_downgrade(service) == set()
