from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import pytest
from tests.examples.loans import service

from portico.kit.http.router import Router
from portico.kit.runtime.system import System
from portico.testing.databases import Databases
from portico.testing.running_service import RunningService, run_service, system_of

Extended = Callable[..., AbstractAsyncContextManager[RunningService]]


@pytest.fixture
def extended(databases: Databases) -> Extended:
    """Run the example service with routers of the test, on each database in turn."""
    return _extending(databases)


@pytest.fixture
def embedded_extended(sqlite_databases: Databases) -> Extended:
    """As `extended`, on SQLite only."""
    return _extending(sqlite_databases)


@pytest.fixture
async def camel_loans(sqlite_databases: Databases) -> AsyncIterator[RunningService]:
    """Run the example service in a system with camelCase JSON under /api."""
    async with run_service(service, sqlite_databases, system=_camel()) as loans:
        yield loans


def _camel() -> System:
    return system_of(service, case="camel", prefix="/api")


def _extending(databases: Databases) -> Extended:
    def extend(*routers: Router, **variables: str) -> AbstractAsyncContextManager[RunningService]:
        whole = replace(service, routers=[*service.routers, *routers])
        return run_service(whole, databases, variables=variables)

    return extend
