"""`portico users`: create accounts, and let their owners reset a password."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from portico.kit.foundation.errors import CommandError

if TYPE_CHECKING:
    from datetime import datetime

    from portico.contracts.identity import UserId

app = typer.Typer(no_args_is_help=True, help="Create accounts and reset passwords.")


@app.callback()
def users() -> None:
    """Create accounts and reset passwords."""


@app.command()
def create(
    email: Annotated[str, typer.Option(help="The email address, which is the sign-in name.")],
    admin: Annotated[
        bool, typer.Option("--admin", help="Make the user an administrator with all permissions.")
    ] = False,
    name: Annotated[str | None, typer.Option(help="The user's name.")] = None,
    role: Annotated[list[str] | None, typer.Option(help="A role. May be repeated. Default: the system's.")] = None,
    verified: Annotated[bool, typer.Option("--verified", help="Record the email address as verified.")] = False,
    system: Annotated[str | None, typer.Option(help="The system of the account.")] = None,
) -> None:
    """Create an account. The password is prompted for, or read from standard input if that is not a terminal.

    The password is not an option, because every process on the machine can read the options of another.
    """
    import asyncio

    password = _read_password()
    user = asyncio.run(
        create_user(system, email, password, name=name, roles=tuple(role or ()), admin=admin, verified=verified)
    )
    print(f"Created the account of {email}, {user or 'the first administrator'}.")


@app.command("reset-password")
def reset_password(
    email: Annotated[str, typer.Argument(help="The email address of the account.")],
    system: Annotated[str | None, typer.Option(help="The system of the account.")] = None,
) -> None:
    """Print a one-time token by which the owner of an account sets a new password.

    The owner sends it to `POST /auth/password-reset/confirm`. Where mails are sent, `POST /auth/password-reset` mails one.
    """
    import asyncio

    token, expires_at = asyncio.run(issue_reset_token(system, email))
    print(token)
    print(f"It expires at {expires_at:%Y-%m-%d %H:%M} UTC.", file=sys.stderr)


async def issue_reset_token(system: str | None, email: str) -> "tuple[str, datetime]":
    """Return a token to reset the password of an account, and when it expires. Raises CommandError."""
    from portico.cli.identity import open_identity
    from portico.kit.foundation.problems import Problem
    from portico.services.identity.tokens.mailed_tokens import issue_for_operator

    async with open_identity(system) as identity:
        try:
            token = await issue_for_operator(identity, email)
        except Problem as problem:
            raise CommandError(problem.sentence()) from problem
    return token.text, token.expires_at


async def create_user(
    system: str | None,
    email: str,
    password: str,
    *,
    name: str | None,
    roles: tuple[str, ...],
    admin: bool,
    verified: bool = False,
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
            chosen = (ADMINISTRATOR, *roles) if admin else roles or default
            new_user = NewUser(email, password, name, chosen, email_verified=verified)
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
