"""`portico keys`: the keys that sign access tokens."""

from typing import TYPE_CHECKING, Annotated

import typer

from portico.kit.foundation.errors import CommandError

if TYPE_CHECKING:
    from portico.services.identity.tokens.models import StoredKey

app = typer.Typer(no_args_is_help=True, help="Manage the keys that sign access tokens.")


@app.callback()
def keys() -> None:
    """Manage the keys that sign access tokens."""


@app.command()
def rotate(
    at_once: Annotated[
        bool, typer.Option("--at-once", help="Sign with the new key now, not after its lead time.")
    ] = False,
    withdraw: Annotated[
        bool,
        typer.Option("--withdraw", help="Delete the older keys, because one leaked: all access tokens become invalid."),
    ] = False,
    system: Annotated[str | None, typer.Option(help="The system of the keys.")] = None,
) -> None:
    """Publish a new signing key. It signs once every verifier has had time to fetch it; older keys still verify."""
    import asyncio

    key = asyncio.run(rotate_key(system, at_once=at_once, withdraw=withdraw))
    print(f"The key {key.kid} ({key.algorithm}) signs from {key.signs_from:%Y-%m-%d %H:%M:%S} UTC.")
    if withdraw:
        print("All other keys are deleted: everyone has to sign in again.")


async def rotate_key(system: str | None, *, at_once: bool, withdraw: bool) -> "StoredKey":
    """Publish a new signing key.

    Raises:
        CommandError: tokens are signed with a shared secret.
        NotMigrated, DatabaseUnusable, SettingsError: identity cannot be opened.
    """
    from portico.cli.identity import open_identity
    from portico.services.identity.errors import SharedSecretInUse
    from portico.services.identity.tokens.key_ring import KeyRing

    async with open_identity(system) as identity:
        try:
            return await identity.resource(KeyRing).rotate(at_once=at_once, withdraw=withdraw)
        except SharedSecretInUse as error:
            raise CommandError(
                "With JWT_ALGORITHM=HS256 tokens are signed with JWT_SECRET, which does not rotate.",
                "Set another JWT_SECRET and restart identity: everyone has to sign in again.",
            ) from error
