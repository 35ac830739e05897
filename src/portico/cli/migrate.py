"""`portico migrate`: create, list, run and undo the migrations of services."""

import asyncio
import sys
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from portico.kit.foundation.errors import CommandError

if TYPE_CHECKING:
    from rich.table import Table

    from portico.kit.data.migrations import MigrationSet, Status
    from portico.kit.runtime.system import Placement
    from portico.kit.runtime.system import System as DeclaredSystem
    from portico.kit.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Create, list, run and undo the migrations of services.")

System = Annotated[str | None, typer.Option("--system", help="The system that the services belong to.")]
Services = Annotated[list[str] | None, typer.Argument(help="Services. Default: all of the system.")]
Service = Annotated[str, typer.Argument(help="The service's name in its system.")]


@app.command()
def new(
    service: Service,
    message: Annotated[str, typer.Argument(help="What the migration does, in a few words.")],
    system: System = None,
) -> None:
    """Write the migration from the current tables to the declared ones."""
    path = asyncio.run(Migrations.of(system, [service]).new(message))
    print(f"The tables of {service} match their declaration: nothing to migrate." if path is None else f"Wrote {path}")


@app.command()
def status(services: Services = None, system: System = None) -> None:
    """Show which migrations each database has run."""
    from rich.console import Console

    found = asyncio.run(Migrations.of(system, services).status())
    Console(highlight=False).print(_table(found))


@app.command()
def upgrade(services: Services = None, system: System = None) -> None:
    """Run the pending migrations, in one process at a time."""
    _print_revisions(asyncio.run(Migrations.of(system, services).upgrade()), "ran", "up to date")


@app.command()
def downgrade(
    service: Service,
    to: Annotated[str, typer.Option(help="The revision to go back to, or `base`. Default: one step back.")] = "-1",
    system: System = None,
) -> None:
    """Undo migrations of one service. Data that only the newer tables hold is lost."""
    _print_revisions(asyncio.run(Migrations.of(system, [service]).downgrade(to)), "undid", "nothing to undo")


def _print_revisions(done: dict[str, Any], verb: str, nothing: str) -> None:
    for service, revisions in done.items():
        print(f"{service}: {verb} {', '.join(revisions)}" if revisions else f"{service}: {nothing}")


@dataclass(frozen=True)
class Migrations:
    """The migrations of some services of a system."""

    placements: "Sequence[Placement]"
    settings: "Settings"

    @classmethod
    def of(cls, system: str | None, services: Sequence[str] | None) -> Self:
        """Return those of `services`, by default of all. Raises NoSuchSystem, NoSuchService, SettingsError."""
        from portico.cli.environment import current_settings, find_chosen_system
        from portico.kit.settings import check_server_passwords

        settings = current_settings()
        found = find_chosen_system(system, settings)
        check_server_passwords(settings)
        return cls([found.placement(name) for name in services] if services else found.placements, settings)

    async def new(self, message: str) -> Path | None:
        """Draft the service's next migration; None if there is nothing to migrate."""
        from portico.kit.data.migrations.autogenerate import draft_migration

        (placement,) = self.placements
        return await draft_migration(_service_set(placement), message)

    async def status(self) -> "dict[str, list[Status] | None]":
        """Return the status of each service's database; None if it does not exist."""
        return {each.name: await self._status(each) for each in self.placements}

    async def upgrade(self) -> dict[str, list[str]]:
        """Run the pending migrations; return the revisions that ran."""
        return {each.name: await self._upgrade(each) for each in self.placements}

    async def downgrade(self, target: str) -> dict[str, list[str]]:
        """Undo migrations down to `target`; return the revisions that were undone."""
        from alembic.script.revision import RevisionError
        from alembic.util import CommandError as AlembicError

        from portico.kit.data.migrations import downgrade
        from portico.kit.runtime.databases import open_database

        (placement,) = self.placements
        async with open_database(placement, self.settings) as database:
            try:
                return {placement.name: await downgrade(database, _service_set(placement), target)}
            except (AlembicError, RevisionError) as error:
                raise CommandError(
                    f"{placement.name} cannot go back to {target!r}: {error}.",
                    f"`portico migrate status {placement.name}` shows its revision; --to takes a revision or base.",
                ) from error

    async def _upgrade(self, placement: "Placement") -> list[str]:
        from portico.kit.data.migrations import upgrade
        from portico.kit.runtime.databases import migration_sets, open_database, translate_errors
        from portico.kit.settings import database_for

        async with open_database(placement, self.settings) as database:
            with translate_errors(placement.name, database_for(self.settings, placement.name)):
                return [
                    f"{_owner(each.name)} {revision}"
                    for each in migration_sets(placement)
                    for revision in await upgrade(database, [each])
                ]

    async def _status(self, placement: "Placement") -> "list[Status] | None":
        from portico.kit.data.migrations import status
        from portico.kit.data.provisioning import database_exists
        from portico.kit.runtime.databases import migration_sets, open_database, translate_errors
        from portico.kit.settings import database_for

        place = database_for(self.settings, placement.name)
        with translate_errors(placement.name, place):
            if not await database_exists(place.url):
                return None
        async with open_database(placement, self.settings) as database:
            with translate_errors(placement.name, place):
                return await status(database, migration_sets(placement))


def _service_set(placement: "Placement") -> "MigrationSet":
    """Return the service's own migrations, without those of the kit. Raises CommandError."""
    from portico.kit.runtime.databases import migration_sets

    if placement.service.migrations is None:
        raise CommandError(f"{placement.name} has no tables.", "Declare them in its models.py first.")
    return migration_sets(placement)[-1]


def _table(found: "dict[str, list[Status] | None]") -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("Service", "Tables of", "Current", "Newest", "Pending"):
        table.add_column(column)
    for service, sets in found.items():
        for number, each in enumerate(sets or ()):
            pending = "[green]none[/]" if each.is_current else f"[yellow]{', '.join(each.pending)}[/]"
            table.add_row("" if number else service, _owner(each.name), each.current or "-", each.head or "-", pending)
        if sets is None:
            table.add_row(service, "-", "-", "-", "no database yet")
    return table


def _owner(migration_set: str) -> str:
    from portico.kit.data.migrations import KIT_HISTORY

    return "the kit" if migration_set == KIT_HISTORY.name else migration_set


async def report_unmigrated(system: "DeclaredSystem", parts: Container[str]) -> None:
    """Say which tables the migrations of a project's own services do not create as they are declared."""
    from portico.kit.data.migrations.autogenerate import unmigrated_tables
    from portico.kit.runtime.databases import migration_sets

    for each in system.placements:
        is_shipped = each.service.module.partition(".")[0] == "portico"
        if is_shipped or each.name not in parts or each.service.migrations is None:
            continue
        if tables := await unmigrated_tables(migration_sets(each)[-1]):
            message = f"The migrations of {each.name} do not create {', '.join(tables)} as declared."
            print(f'{message} Run `portico migrate new {each.name} "WHAT CHANGES"`.', file=sys.stderr, flush=True)
