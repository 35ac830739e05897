"""`portico migrate`: the tables of each service, and the way from one version of them to the next."""

import asyncio
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True, help="Make, look at and run the migrations of services.")

System = Annotated[str | None, typer.Option("--system", help="The system that the services belong to.")]
Services = Annotated[list[str] | None, typer.Argument(help="Services; all of the system if none is named.")]
Service = Annotated[str, typer.Argument(help="The service, as its system calls it.")]


@app.command()
def new(
    service: Service,
    message: Annotated[str, typer.Argument(help="What the migration does, in a few words.")],
    system: System = None,
) -> None:
    """Write the migration that leads to the tables as they are declared now."""
    from portico.cli.migrations import Migrations

    path = asyncio.run(Migrations.of(system, [service]).new(message))
    print(f"The tables of {service} are as declared: there is nothing to migrate." if path is None else f"Wrote {path}")


@app.command()
def status(services: Services = None, system: System = None) -> None:
    """Show which migrations each database has been through."""
    from rich.console import Console

    from portico.cli.migrations import Migrations, status_table

    found = asyncio.run(Migrations.of(system, services).status())
    Console(highlight=False).print(status_table(found))


@app.command()
def upgrade(services: Services = None, system: System = None) -> None:
    """Run the pending migrations, one process at a time."""
    from portico.cli.migrations import Migrations

    _tell(asyncio.run(Migrations.of(system, services).upgrade()), "ran", "up to date")


@app.command()
def downgrade(
    service: Service,
    to: Annotated[str, typer.Option(help="The revision to go back to, or `base`; one step back if unset.")] = "-1",
    system: System = None,
) -> None:
    """Undo migrations of one service, and lose what only the newer tables can hold."""
    from portico.cli.migrations import Migrations

    _tell(asyncio.run(Migrations.of(system, [service]).downgrade(to)), "undid", "nothing to undo")


def _tell(done: dict[str, Any], deed: str, nothing: str) -> None:
    for service, revisions in done.items():
        print(f"{service}: {deed} {', '.join(revisions)}" if revisions else f"{service}: {nothing}")
