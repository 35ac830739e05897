from collections.abc import AsyncIterator

import pytest
from tests.services.payments.support import PROVIDER_TIMEOUT

from portico.kit import Service
from portico.services.payments import service
from portico.testing.databases import Databases
from portico.testing.running_service import RunningService, run_service, system_of

ORDERS = Service(name="orders", summary="Does not run", module=__name__)
BOOKINGS = Service(name="bookings", summary="Does not run", module=__name__)
VARIABLES = {"PAYMENTS_PROVIDER_TIMEOUT": str(PROVIDER_TIMEOUT)}


@pytest.fixture
async def payments(databases: Databases) -> AsyncIterator[RunningService]:
    """Payments of a system with orders, without background work and with an empty database, on each database."""
    async with run_service(
        service, databases, system=system_of(service, ORDERS), background=False, variables=VARIABLES
    ) as payments:
        yield payments


@pytest.fixture
async def booking_payments(databases: Databases) -> AsyncIterator[RunningService]:
    """Payments of a system with bookings, without background work and with an empty database, on each database."""
    async with run_service(
        service, databases, system=system_of(service, BOOKINGS), background=False, variables=VARIABLES
    ) as payments:
        yield payments


@pytest.fixture
async def embedded(sqlite_databases: Databases) -> AsyncIterator[RunningService]:
    """Payments without background work and with an empty SQLite database, for tests that do not depend on the database."""
    async with run_service(
        service, sqlite_databases, system=system_of(service, ORDERS), background=False, variables=VARIABLES
    ) as payments:
        yield payments
