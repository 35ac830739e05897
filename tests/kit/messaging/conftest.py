from collections.abc import AsyncIterator

import pytest
from tests.examples.loans import service
from tests.kit.messaging.leaving import Shelving

from portico.kit.testing.databases import Databases
from portico.kit.testing.running import RunningService, running


@pytest.fixture
async def loans(databases: Databases) -> AsyncIterator[RunningService]:
    """The example service, on each database in turn."""
    async with running(service, databases) as loans:
        yield loans


@pytest.fixture
def shelving() -> Shelving:
    return Shelving()


@pytest.fixture
async def library(databases: Databases, shelving: Shelving) -> AsyncIterator[RunningService]:
    """A service that consumes, on each database in turn; an event is dead after its second failure."""
    async with running(shelving.service(), databases, variables={"EVENT_ATTEMPTS": "2"}) as library:
        yield library
