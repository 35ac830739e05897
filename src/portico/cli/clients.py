"""`portico clients`: OAuth clients, the applications that users sign in to."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from portico.kit.foundation.errors import CommandError

if TYPE_CHECKING:
    from portico.services.identity.oauth.models import OAuthClient

app = typer.Typer(no_args_is_help=True, help="Manage OAuth clients: applications that users sign in to.")

SystemOption = Annotated[str | None, typer.Option(help="The system of the clients.")]

_ACTOR = "portico clients"
_MAX_LISTED = 1000


@app.callback()
def clients() -> None:
    """Manage OAuth clients: applications that users sign in to."""


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="The name that users see.")],
    redirect_uri: Annotated[
        list[str], typer.Option(help="An address that users may return to, compared exactly. May be repeated.")
    ],
    confidential: Annotated[
        bool, typer.Option("--confidential", help="The client is a server that can keep a secret.")
    ] = False,
    post_logout_redirect_uri: Annotated[
        list[str] | None, typer.Option(help="An address that users may return to after sign-out. May be repeated.")
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(help="A scope that the client may request. May be repeated. Default: openid profile email api."),
    ] = None,
    system: SystemOption = None,
) -> None:
    """Register a client. The secret of a confidential client is printed only this once."""
    import asyncio

    values: dict[str, Any] = {"name": name, "redirect_uris": redirect_uri, "confidential": confidential}
    values |= {"post_logout_redirect_uris": post_logout_redirect_uri} if post_logout_redirect_uri else {}
    values |= {"scope": scope} if scope else {}
    client, secret = asyncio.run(register(system, values))
    print(f"client_id: {client.client_id}")
    if secret is not None:
        print(f"client_secret: {secret}")


@app.command("list")
def list_(system: SystemOption = None) -> None:
    """List the clients, newest first."""
    import asyncio

    for client in asyncio.run(find_all(system)):
        kind = "confidential" if client.confidential else "public"
        print(f"{client.client_id}  {kind}  {client.name}  {' '.join(client.redirect_uris)}")


@app.command()
def delete(client_id: Annotated[str, typer.Argument(help="The client.")], system: SystemOption = None) -> None:
    """Delete a client. All sessions that it opened end."""
    import asyncio

    asyncio.run(remove(system, client_id))
    print(f"Deleted {client_id}.")


async def register(system: str | None, values: dict[str, Any]) -> "tuple[OAuthClient, str | None]":
    """Register a client and return it with its secret.

    Raises:
        CommandError: a value is not valid.
        NotMigrated, DatabaseUnusable, SettingsError: identity cannot be opened.
    """
    from pydantic import ValidationError

    from portico.cli.identity import open_identity
    from portico.services.identity.oauth.clients import register_client
    from portico.services.identity.oauth.schemas import ClientCreate

    try:
        checked = ClientCreate(**values)
    except ValidationError as error:
        first = error.errors()[0]
        raise CommandError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    async with open_identity(system) as identity, identity.transaction() as work:
        return await register_client(
            work,
            checked.model_dump(exclude={"confidential"}),
            confidential=checked.confidential,
            actor=_ACTOR,
            client_info=None,
        )


async def find_all(system: str | None) -> "list[OAuthClient]":
    """Return the clients, newest first. Raises NotMigrated, DatabaseUnusable, SettingsError."""
    from portico.cli.identity import open_identity
    from portico.kit import Window
    from portico.services.identity.oauth.repository import Clients

    async with open_identity(system) as identity, identity.reader() as reader:
        return list((await Clients(reader).page_active(Window(limit=_MAX_LISTED))).rows)


async def remove(system: str | None, client_id: str) -> None:
    """Delete a client.

    Raises:
        CommandError: there is no client with this id.
        NotMigrated, DatabaseUnusable, SettingsError: identity cannot be opened.
    """
    from portico.cli.identity import open_identity
    from portico.services.identity.errors import ClientNotFound
    from portico.services.identity.oauth.clients import delete_client
    from portico.services.identity.oauth.models import ClientId

    async with open_identity(system) as identity, identity.transaction() as work:
        try:
            await delete_client(work, ClientId(client_id), actor=_ACTOR, client_info=None)
        except ClientNotFound as error:
            raise CommandError(error.sentence(), "List the clients with `portico clients list`.") from error
