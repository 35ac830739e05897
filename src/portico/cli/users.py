"""`portico users`: accounts that an operator opens."""

import sys
from typing import Annotated

import typer

from portico.cli.errors import CommandError

app = typer.Typer(no_args_is_help=True, help="Open accounts.")


@app.callback()
def users() -> None:
    """Open accounts."""


@app.command()
def create(
    email: Annotated[str, typer.Option(help="The email address, which is the sign-in name.")],
    admin: Annotated[bool, typer.Option("--admin", help="Make it an administrator, who may do everything.")] = False,
    name: Annotated[str | None, typer.Option(help="The person's name.")] = None,
    role: Annotated[
        list[str] | None, typer.Option(help="A role; may be repeated. The system's default if none.")
    ] = None,
    system: Annotated[str | None, typer.Option(help="The system that the account is in.")] = None,
) -> None:
    """Open an account. The password is asked for, or read from standard input where that is no terminal.

    It is never given as an argument, where every process of the machine could read it.
    """
    import asyncio

    from portico.cli.accounts import create_user

    password = _password()
    user = asyncio.run(create_user(system, email, password, name=name, roles=tuple(role or ()), admin=admin))
    print(f"Opened the account of {email}, {user or 'the first administrator'}.")


def _password() -> str:
    if sys.stdin.isatty():
        entered: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        return entered
    line = sys.stdin.readline().rstrip("\r\n")
    if not line:
        raise CommandError(
            "Standard input holds no password.", "Write it there, in one line, or run this in a terminal."
        )
    return line
