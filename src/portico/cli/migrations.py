"""What `portico migrate` does to the databases of a system."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from alembic.util import CommandError as AlembicError

from portico.cli.environment import current_settings
from portico.cli.errors import CommandError
from portico.cli.ports import chosen_system
from portico.kit.data.migrations import KIT_HISTORY, MigrationSet, Status, downgrade, status, upgrade
from portico.kit.data.migrations.autogenerate import draft_migration
from portico.kit.data.provisioning import place_exists
from portico.kit.runtime.databases import migration_sets, open_database, translate_errors
from portico.kit.runtime.system import Placement
from portico.kit.settings import Settings, check_server_passwords, database_for

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Migrations:
    """The migrations of some services of a system."""

    placements: Sequence[Placement]
    settings: Settings

    @classmethod
    def of(cls, system: str | None, services: Sequence[str] | None) -> Self:
        """Those of `services`, of all where none is named. Raises NoSuchSystem, NoSuchService, SettingsError."""
        settings = current_settings()
        found = chosen_system(system, settings)
        check_server_passwords(settings)
        return cls([found.placement(name) for name in services] if services else found.placements, settings)

    async def new(self, message: str) -> Path | None:
        """Draft the service's next migration; None where there is nothing to migrate."""
        (placement,) = self.placements
        return await draft_migration(_own(placement), message)

    async def status(self) -> dict[str, list[Status] | None]:
        """Where each service's database stands; None where there is none yet."""
        return {each.name: await self._status(each) for each in self.placements}

    async def upgrade(self) -> dict[str, list[str]]:
        """Run what is pending; the revisions that were run."""
        return {each.name: await self._upgrade(each) for each in self.placements}

    async def _upgrade(self, placement: Placement) -> list[str]:
        async with open_database(placement, self.settings) as database:
            with translate_errors(placement.name, database_for(self.settings, placement.name)):
                return [
                    f"{_tables_of(line.name)} {revision}"
                    for line in migration_sets(placement)
                    for revision in await upgrade(database, [line])
                ]

    async def downgrade(self, target: str) -> dict[str, list[str]]:
        """Undo down to `target`; the revisions that were undone."""
        (placement,) = self.placements
        async with open_database(placement, self.settings) as database:
            try:
                return {placement.name: await downgrade(database, _own(placement), target)}
            except AlembicError as error:
                raise CommandError(
                    f"{placement.name} can't go back to {target!r}: {error}.",
                    f"`portico migrate status {placement.name}` shows where it is; --to takes a revision or base.",
                ) from error

    async def _status(self, placement: Placement) -> list[Status] | None:
        place = database_for(self.settings, placement.name)
        with translate_errors(placement.name, place):
            if not await place_exists(place.url):
                return None
        async with open_database(placement, self.settings) as database:
            with translate_errors(placement.name, place):
                return await status(database, migration_sets(placement))


def _own(placement: Placement) -> MigrationSet:
    """The service's own history, behind the kit's. Raises CommandError."""
    if placement.service.migrations is None:
        raise CommandError(f"{placement.name} has no tables.", "Declare them in its models.py first.")
    return migration_sets(placement)[-1]


def status_table(found: dict[str, list[Status] | None]) -> "Table":
    """The status of each service's database, for a person to read."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("Service", "Tables of", "At", "Newest", "Pending"):
        table.add_column(column)
    for service, lines in found.items():
        for number, line in enumerate(lines or ()):
            pending = "[green]none[/]" if line.is_current else f"[yellow]{', '.join(line.pending)}[/]"
            table.add_row(
                "" if number else service, _tables_of(line.name), line.current or "-", line.head or "-", pending
            )
        if lines is None:
            table.add_row(service, "-", "-", "-", "no database yet")
    return table


def _tables_of(history: str) -> str:
    return "the kit" if history == KIT_HISTORY.name else history
