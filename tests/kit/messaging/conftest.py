from collections.abc import AsyncIterator

import pytest
from tests.examples.loans import service

from portico.kit.testing.databases import Databases
from portico.kit.testing.running import RunningService, running


@pytest.fixture
async def loans(databases: Databases) -> AsyncIterator[RunningService]:
    """The example service, on each database in turn."""
    async with running(service, databases) as loans:
        yield loans
