"""`portico run`: one service alone."""

from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def run(
    service: Annotated[str, typer.Argument(help="The service, as its system calls it; or `gateway`.")],
    system: Annotated[str | None, typer.Option(help="The system that it belongs to.")] = None,
    host: Annotated[str | None, typer.Option(help="The address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="The port to listen on.", min=1, max=65_535)] = None,
    migrate: Annotated[
        bool, typer.Option("--migrate", help="Run pending migrations, also on a database server.")
    ] = False,
) -> None:
    """Run one service alone; where the others are, {NAME}_SERVICE_URL says.

    An embedded database is migrated by itself; on a server, a database with pending migrations is refused.
    """
    from portico.cli.alone import serve_alone
    from portico.cli.ports import GATEWAY, bind_all, chosen_system, environment_with, ports_of
    from portico.kit.settings import Settings

    environment = environment_with(host)
    settings = environment.read(Settings)
    found = chosen_system(system, settings)
    name = GATEWAY if service == GATEWAY else found.placement(service).name
    sockets = bind_all(settings.host, {name: port or ports_of(found)[name]})
    raise typer.Exit(serve_alone(found, environment, sockets, migrate=migrate))
