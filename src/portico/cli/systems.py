"""`portico systems`: the systems, and their services."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from portico.cli.system_outline import SystemOutline

app = typer.Typer()


@app.command()
def systems(
    names: Annotated[
        list[str] | None, typer.Argument(help="Systems. Default: this project's, and all that Portico ships.")
    ] = None,
) -> None:
    """Show the services of each system, their names in it, and their ports."""
    from rich.console import Console

    from portico.cli.environment import current_settings, outline_system, warn_of_misspelt_settings
    from portico.cli.project import Project
    from portico.kit.runtime.shipped_systems import shipped_systems

    current_settings()  # reports invalid ones
    console = Console(highlight=False)
    project = Project.at(Path.cwd())
    shown = names or (*([project.system] if project else ()), *shipped_systems())
    outlines = [outline_system(name) for name in shown]
    warn_of_misspelt_settings(frozenset[str]().union(*(each.variables for each in outlines)))
    for each in outlines:
        console.print(_table(each))
        console.print()


def _table(system: "SystemOutline") -> "Table":
    from rich.table import Table

    face = f"JSON in {system.case} case, resources under {system.prefix or '/'}"
    table = Table(
        title=f"[bold]{system.name}[/]: {system.summary}\n[dim]{face}[/]",
        title_justify="left",
        title_style="",
        box=None,
        pad_edge=False,
        header_style="bold",
    )
    table.add_column("Name")
    table.add_column("Service")
    table.add_column("Port", justify="right")
    table.add_column("Summary", style="dim")
    table.add_row("gateway", "", str(system.gateway), "The entrance to all services")
    for each in system.services:
        own = each.own_name if each.own_name != each.name else ""
        table.add_row(each.name, own, str(each.port), each.summary)
    return table
