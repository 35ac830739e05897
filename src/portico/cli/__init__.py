"""The command line."""

import importlib
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from portico import __version__
from portico.cli.errors import present

# A command is a module of this package whose `app` is a typer.Typer: its name here is all that it takes to add it.
# What is slow to import, a module imports in its functions, so that `portico --help` answers at once.
COMMANDS = (
    "up",
    "run",
    "demo",
    "drill",
    "systems",
    "migrate",
    "users",
    "keys",
    "dead-letters",
    "events",
    "config",
    "openapi",
    "asyncapi",
    "export",
    "explain",
)


class _Commands(TyperGroup):
    """Imports a command's module when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 the group's signature
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in COMMANDS and cmd_name not in self.commands:
            module = importlib.import_module(f"portico.cli.{cmd_name.replace('-', '_')}")
            command = typer.main.get_command(module.app)
            command.name = cmd_name
            self.add_command(command, cmd_name)
        return super().get_command(ctx, cmd_name)


app = typer.Typer(
    name="portico",
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"portico {__version__}")
        raise typer.Exit


@app.callback()
def portico(
    _show_version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Working services behind one gateway, and the kit that they are made of."""


def main() -> None:
    """Run the command line. Ends the process: 0, 2 where the user can mend what is wrong, 1 where Portico is at fault."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # noqa: BLE001 the last one to see it; `present` tells all of it
        sys.exit(present(error))
