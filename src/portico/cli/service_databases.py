"""The databases of a system's services, opened for one command; the services may run meanwhile, or not at all."""

import getpass
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass

from portico.cli.environment import current_settings
from portico.cli.errors import CommandError
from portico.cli.ports import chosen_system, system_name
from portico.kit.data.engine import Database
from portico.kit.data.migrations import require_current, status
from portico.kit.data.provisioning import place_exists
from portico.kit.foundation.clock import Clock
from portico.kit.runtime.databases import migration_sets, open_database, translate_errors
from portico.kit.runtime.system import Placement
from portico.kit.settings import Settings, check_server_passwords, database_for
from portico.kit.telemetry.logs import Logs


@dataclass(frozen=True)
class ServiceDatabase:
    """A service and its database."""

    placement: Placement
    database: Database
    clock: Clock

    @property
    def name(self) -> str:
        """What the system calls the service."""
        return self.placement.name


@asynccontextmanager
async def open_databases(system: str | None, services: Sequence[str]) -> AsyncIterator[list[ServiceDatabase]]:
    """The databases of `services`, in the system's order; of all where none is named, but for those that are not made yet.

    Raises:
        CommandError: none of them is made yet.
        NoSuchSystem, NoSuchService: there is none of that name.
        NotMigrated, DatabaseUnusable, SettingsError: one can't be opened.
    """
    settings = current_settings()
    found = chosen_system(system, settings)
    check_server_passwords(settings)
    named = {found.placement(name).name for name in services}
    async with AsyncExitStack() as stack:
        opened = []
        for placement in found.placements:
            if not named or placement.name in named:
                database = await stack.enter_async_context(_open(placement, settings))
                opened += [] if database is None else [ServiceDatabase(placement, database, Clock())]
        if not opened:
            raise CommandError(
                f"There is no database of {' or '.join(sorted(named)) or found.name} yet.",
                f"Start it once with `portico up {system_name(system, settings)}`, or set DATABASE_URL to where its databases are.",
            )
        yield opened


@asynccontextmanager
async def _open(placement: Placement, settings: Settings) -> AsyncIterator[Database | None]:
    """The service's database; None where it never ran: there is no database, or nothing in it."""
    place = database_for(settings, placement.name)
    with translate_errors(placement.name, place):
        is_made = await place_exists(place.url)
    if not is_made:
        yield None
        return
    async with open_database(placement, settings) as database:
        with translate_errors(placement.name, place):
            kits, *_ = await status(database, migration_sets(placement))
            if kits.current is not None:
                await require_current(database, migration_sets(placement))
        yield None if kits.current is None else database


@contextmanager
def audited() -> Iterator[str]:
    """Who does it; while the block runs, log lines go to standard error, whatever LOG_LEVEL is."""
    import sys

    logs = Logs.configure(level="info", style=current_settings().log_format, stream=sys.stderr.buffer)
    try:
        yield _who()
    finally:
        logs.close()


def _who() -> str:
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):  # an account without a name, as in a container
        return str(os.getuid()) if hasattr(os, "getuid") else "nobody known"
