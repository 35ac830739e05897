"""Every shipped service answers generated requests as its OpenAPI document says.

A service whose operations need data has a module `tests/services/<name>/fuzzing.py` with a context manager
`open_for_fuzzing(databases, folder)`. Without that module the service runs with an empty database.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.services.shipped import shipped_services

from portico.kit.runtime.service import Service
from portico.testing.databases import Databases
from portico.testing.fuzzing import Fuzzing
from portico.testing.running_service import run_service

SERVICES = shipped_services()
HEALTH_OPERATIONS = 3


@pytest.mark.parametrize("name", SERVICES)
async def test_responses_match_the_openapi_document(name: str, sqlite_databases: Databases, tmp_path: Path) -> None:
    service = SERVICES[name]

    async with _opened(service, sqlite_databases, tmp_path) as fuzzing:
        assert await fuzzing.run() == _operations(service) + HEALTH_OPERATIONS


def _opened(service: Service, databases: Databases, folder: Path) -> AbstractAsyncContextManager[Fuzzing]:
    module = f"tests.services.{service.name}.fuzzing"
    if find_spec(f"tests.services.{service.name}") and find_spec(module):
        opened: AbstractAsyncContextManager[Fuzzing] = import_module(module).open_for_fuzzing(databases, folder)
        return opened
    return _open_empty(service, databases, folder)


@asynccontextmanager
async def _open_empty(service: Service, databases: Databases, folder: Path) -> AsyncIterator[Fuzzing]:
    async with run_service(service, databases, variables={"DATA_DIR": str(folder)}, background=False) as run:
        token = run.issuer.token
        permitted = token(permissions=["*"], lasting=10_000_000)
        caller = token("service:orders", permissions=["*"], lasting=10_000_000)
        yield Fuzzing(run, [permitted, caller, None])


def _operations(service: Service) -> int:
    """Return the number of documented operations that the service declares."""
    routes = [route for router in service.routers for route in router.routes]
    return sum(route.method != "WEBSOCKET" and route.framework.get("include_in_schema", True) for route in routes)
