"""`portico config`: the settings in effect, and their origins."""

from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from portico.kit.settings import Setting

app = typer.Typer()


@app.command()
def config(
    as_json: bool = typer.Option(False, "--json", help="Print JSON, for programs."),
    changed: bool = typer.Option(False, "--changed", help="Only settings that are not the default."),
) -> None:
    """Print every setting, its value and its origin. Secrets are masked."""
    settings = [each for each in _all_settings() if not changed or each.origin != "default"]
    if as_json:
        import orjson

        rows = [
            {"name": each.variable, "value": each.value, "origin": each.origin, "description": each.description}
            for each in settings
        ]
        print(orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode())
    else:
        from rich.console import Console

        Console(highlight=False).print(_table(settings))


def _all_settings() -> "list[Setting]":
    """Return the settings of every process, and those of each service of the current system."""
    from portico.cli.environment import outline_chosen_system, read_environment
    from portico.kit.settings import Settings

    read = read_environment(Settings)
    kinds = outline_chosen_system(None, read.value).settings
    return [*read.entries(), *(each for kind in kinds for each in read_environment(kind).entries())]


def _table(settings: list["Setting"]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("Setting", no_wrap=True)
    table.add_column("Value", overflow="fold", ratio=2)
    table.add_column("From", no_wrap=True)
    table.add_column("Meaning", style="dim", ratio=3)
    for each in settings:
        style = "dim" if each.origin == "default" else "bold green"
        table.add_row(
            each.variable, Text(_readable(each.value), style=style), Text(each.origin, style), each.description
        )
    return table


def _readable(value: Any) -> str:
    if value is None or value in ([], {}):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return "\n".join(f"{name}: {_readable(item)}" for name, item in value.items())
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)
