"""The services of the shipped systems, for tests that every service must pass."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from portico.kit.runtime.service import Service
from portico.kit.runtime.shipped_systems import shipped_systems
from portico.kit.runtime.system_loader import find_system
from portico.testing.databases import Databases
from portico.testing.fuzzing import Fuzzing
from portico.testing.running_service import run_service


def shipped_services() -> dict[str, Service]:
    """Return each service of the shipped systems by its own name."""
    systems = [find_system(name) for name in shipped_systems()]
    services = {each.service.name: each.service for system in systems for each in system.placements}
    return dict(sorted(services.items()))


def opened_for_fuzzing(service: Service, databases: Databases, folder: Path) -> AbstractAsyncContextManager[Fuzzing]:
    """Run a service with callers and data for generated requests.

    A service whose operations need data has a module `tests/services/<name>/fuzzing.py` with a context manager
    `open_for_fuzzing(databases, folder)`. Without that module the service runs with an empty database.
    """
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
