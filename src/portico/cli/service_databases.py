"""The databases of a system's services, opened for one command. The services may run at the same time."""

import getpass
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from portico.cli.environment import current_settings, find_chosen_system, logs_on_stderr, system_name
from portico.kit.data.engine import Database
from portico.kit.data.migrations import require_current, status
from portico.kit.data.provisioning import database_exists
from portico.kit.foundation.clock import Clock
from portico.kit.foundation.errors import CommandError
from portico.kit.runtime.databases import migration_sets, open_database, translate_errors
from portico.kit.runtime.system import Placement
from portico.kit.settings import Settings, check_server_passwords, database_for


@dataclass(frozen=True)
class ServiceDatabase:
    """A service and its database."""

    placement: Placement
    database: Database
    clock: Clock

    @property
    def name(self) -> str:
        """The service's name in its system."""
        return self.placement.name


@asynccontextmanager
async def open_databases(system: str | None, services: Sequence[str]) -> AsyncIterator[list[ServiceDatabase]]:
    """Open the databases of `services`, by default of all, in the system's order. Databases that do not exist are left out.

    Raises:
        CommandError: none of them exists.
        NoSuchSystem, NoSuchService: nothing has that name.
        NotMigrated, DatabaseUnusable, SettingsError: one cannot be opened.
    """
    settings = current_settings()
    found = find_chosen_system(system, settings)
    check_server_passwords(settings)
    named = {found.placement(name).name for name in services}
    async with AsyncExitStack() as stack:
        stack.enter_context(logs_on_stderr(settings))
        opened = []
        for placement in found.placements:
            if not named or placement.name in named:
                database = await stack.enter_async_context(_open(placement, settings))
                opened += [] if database is None else [ServiceDatabase(placement, database, Clock())]
        if not opened:
            raise CommandError(
                f"There is no database of {' or '.join(sorted(named)) or found.name} yet.",
                f"Run `portico up {system_name(system, settings)}` once, or set DATABASE_URL to where its databases are.",
            )
        yield opened


@asynccontextmanager
async def _open(placement: Placement, settings: Settings) -> AsyncIterator[Database | None]:
    """Open the service's database; None if the service has never run, so that there is no database or it is empty."""
    place = database_for(settings, placement.name)
    with translate_errors(placement.name, place):
        exists = await database_exists(place.url)
    if not exists:
        yield None
        return
    async with open_database(placement, settings) as database:
        with translate_errors(placement.name, place):
            kit_status, *_ = await status(database, migration_sets(placement))
            if kit_status.current is not None:
                await require_current(database, migration_sets(placement))
        yield None if kit_status.current is None else database


def operator_name() -> str:
    """Return the name of the operator whose command this is."""
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):  # an account without a name, as in a container
        return str(os.getuid()) if hasattr(os, "getuid") else "unknown"
