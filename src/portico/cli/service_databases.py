"""The databases of a system's services, opened for one command; the services may run meanwhile, or not at all."""

import getpass
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass

from portico.cli.environment import current_settings
from portico.cli.errors import CommandError
from portico.cli.places import chosen_system
from portico.kit.clock import Clock
from portico.kit.data.engine import Database
from portico.kit.data.migrating import require_current
from portico.kit.data.places import place_exists
from portico.kit.databases import explaining, lines_of, open_database
from portico.kit.settings import Settings, check_server_passwords, database_for
from portico.kit.system import Placement
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
            if (not named or placement.name in named) and await _is_made(placement, settings):
                database = await stack.enter_async_context(_open(placement, settings))
                opened.append(ServiceDatabase(placement, database, Clock()))
        if not opened:
            raise CommandError(
                f"There is no database of {' or '.join(sorted(named)) or found.name} yet.",
                f"Start it once with `portico up {found.name}`, or set DATABASE_URL to where its databases are.",
            )
        yield opened


async def _is_made(placement: Placement, settings: Settings) -> bool:
    place = database_for(settings, placement.name)
    with explaining(placement.name, place):
        return await place_exists(place.url)


@asynccontextmanager
async def _open(placement: Placement, settings: Settings) -> AsyncIterator[Database]:
    async with open_database(placement, settings) as database:
        with explaining(placement.name, database_for(settings, placement.name)):
            await require_current(database, lines_of(placement))
        yield database


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
