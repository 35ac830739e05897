"""The command line."""

import importlib
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from portico import __version__
from portico.cli.errors import print_error
from portico.kit.foundation.garbage_collection import collect_less_often

# A command is a module of this package whose `app` is a typer.Typer; to add one, add its name here.
# Modules import slow libraries inside functions, so that `portico --help` is fast.
COMMANDS = (
    "up",
    "run",
    "demo",
    "drill",
    "systems",
    "new",
    "migrate",
    "users",
    "clients",
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
    """A group that imports a command's module on first use."""

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
    """Working services behind one gateway, and the kit that they are built from."""


def main() -> None:
    """Run the command line. Ends the process: 0, 2 for an error that the user can fix, 1 if Portico is at fault."""
    collect_less_often()
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # noqa: BLE001 the last handler; `print_error` prints the error
        sys.exit(print_error(error))
