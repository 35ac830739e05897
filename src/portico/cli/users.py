"""`portico users`: create accounts."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from portico.kit.foundation.errors import CommandError

if TYPE_CHECKING:
    from portico.contracts.identity import UserId

app = typer.Typer(no_args_is_help=True, help="Create accounts.")


@app.callback()
def users() -> None:
    """Create accounts."""


@app.command()
def create(
    email: Annotated[str, typer.Option(help="The email address, which is the sign-in name.")],
    admin: Annotated[
        bool, typer.Option("--admin", help="Make the user an administrator with all permissions.")
    ] = False,
    name: Annotated[str | None, typer.Option(help="The user's name.")] = None,
    role: Annotated[list[str] | None, typer.Option(help="A role. May be repeated. Default: the system's.")] = None,
    system: Annotated[str | None, typer.Option(help="The system of the account.")] = None,
) -> None:
    """Create an account. The password is prompted for, or read from standard input if that is not a terminal.

    The password is not an option, because every process on the machine can read the options of another.
    """
    import asyncio

    password = _read_password()
    user = asyncio.run(create_user(system, email, password, name=name, roles=tuple(role or ()), admin=admin))
    print(f"Created the account of {email}, {user or 'the first administrator'}.")


async def create_user(
    system: str | None, email: str, password: str, *, name: str | None, roles: tuple[str, ...], admin: bool
) -> "UserId | None":
    """Create an account.

    Returns:
        the new user's id; None if the account became the first administrator.

    Raises:
        CommandError: the account cannot be created.
        NotMigrated, DatabaseUnusable, SettingsError: identity cannot be opened.
    """
    from portico.cli.identity import open_identity
    from portico.kit.foundation.problems import Problem
    from portico.services.identity.users.domain import MAX_PASSWORD_LENGTH, MIN_PASSWORD_LENGTH
    from portico.services.identity.users.first_administrator import FirstAdministrator, NewUser, create_account
    from portico.services.identity.users.models import ADMINISTRATOR

    if not MIN_PASSWORD_LENGTH <= len(password) <= MAX_PASSWORD_LENGTH:
        raise CommandError(
            f"A password has {MIN_PASSWORD_LENGTH} to {MAX_PASSWORD_LENGTH} characters, this one has {len(password)}."
        )
    # If the system has no administrator, identity creates one when it opens: then this one.
    first = {"ADMIN_EMAIL": email, "ADMIN_PASSWORD": password} if admin else {}
    async with open_identity(system, first) as identity:
        if admin and identity.resource(FirstAdministrator).email == email:
            return None
        default_role = identity.system.default_role
        default = () if default_role is None else (default_role,)
        try:
            new_user = NewUser(email, password, name, (ADMINISTRATOR, *roles) if admin else roles or default)
            return await create_account(identity, new_user)
        except Problem as problem:
            raise CommandError(problem.sentence()) from problem


def _read_password() -> str:
    if sys.stdin.isatty():
        entered: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        return entered
    line = sys.stdin.readline().rstrip("\r\n")
    if not line:
        raise CommandError(
            "Standard input has no password.", "Write it there, on one line, or run the command in a terminal."
        )
    return line
