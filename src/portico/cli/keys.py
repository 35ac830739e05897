"""`portico keys`: the keys that sign access tokens."""

from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Look after the keys that sign access tokens.")


@app.callback()
def keys() -> None:
    """Look after the keys that sign access tokens."""


@app.command()
def rotate(
    at_once: Annotated[
        bool, typer.Option("--at-once", help="Sign with the new key now, not after its lead time.")
    ] = False,
    withdraw: Annotated[
        bool,
        typer.Option("--withdraw", help="Throw the older keys away, as one became known: all access tokens end."),
    ] = False,
    system: Annotated[str | None, typer.Option(help="The system whose keys they are.")] = None,
) -> None:
    """Publish a new signing key. It takes over when every verifier has had time to fetch it; the old one goes on verifying."""
    import asyncio

    from portico.cli import accounts

    key = asyncio.run(accounts.rotate(system, at_once=at_once, withdraw=withdraw))
    print(f"The key {key.kid} ({key.algorithm}) signs from {key.signs_from:%Y-%m-%d %H:%M:%S} UTC.")
    if withdraw:
        print("All other keys are gone: everybody has to sign in again.")
