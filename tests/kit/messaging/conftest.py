from collections.abc import AsyncIterator

import pytest
from tests.examples.loans import service
from tests.kit.messaging.leaving import Shelving

from portico.testing.databases import Databases
from portico.testing.running_service import RunningService, run_service


@pytest.fixture
async def loans(databases: Databases) -> AsyncIterator[RunningService]:
    """Run the example service, on each database in turn."""
    async with run_service(service, databases) as loans:
        yield loans


@pytest.fixture
def shelving() -> Shelving:
    return Shelving()


@pytest.fixture
async def library(databases: Databases, shelving: Shelving) -> AsyncIterator[RunningService]:
    """Run a service with a consumer, on each database in turn. An event is dead after its second failure."""
    async with run_service(shelving.service(), databases, variables={"EVENT_ATTEMPTS": "2"}) as library:
        yield library
