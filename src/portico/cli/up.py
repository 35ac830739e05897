"""`portico up`: a whole system, in one process or in one for each part."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager

    from portico.kit.runtime.system import System
    from portico.kit.settings import Environment

app = typer.Typer()


@app.command()
def up(
    system: Annotated[
        str | None, typer.Argument(help="A system that Portico brings, or an import path: shop.systems:shop.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="The address to listen on.")] = None,
    gateway_port: Annotated[int | None, typer.Option(help="The gateway's port.", min=1, max=65_535)] = None,
    port: Annotated[list[str] | None, typer.Option(help="A service's port: identity=9001. May be repeated.")] = None,
    free_ports: Annotated[bool, typer.Option("--free-ports", help="Take any free port for each part.")] = False,
    split: Annotated[
        bool, typer.Option("--split", help="A process for each part; one that dies is restarted.")
    ] = False,
    workers: Annotated[
        int, typer.Option(help="Processes for each part; implies --split.", min=1, max=64, metavar="N")
    ] = 1,
    servers: Annotated[
        bool,
        typer.Option(
            "--servers", help="Start PostgreSQL, Redis and RabbitMQ of its own, from the programs installed here."
        ),
    ] = False,
) -> None:
    """Run a system: its gateway and each service, every one on a port of its own.

    Without a server configured all is embedded, in files under DATA_DIR. Ctrl-C stops it.
    """
    from contextlib import nullcontext

    from portico.cli.ports import bind_all, chosen_system, environment_with, system_name
    from portico.cli.split import check_can_split, up_split
    from portico.cli.together import up_together
    from portico.kit.settings import Settings

    environment = environment_with(host)
    settings = environment.read(Settings)
    found = chosen_system(system, settings)
    parallel = split or workers > 1
    if parallel and not servers:
        check_can_split(found, settings, workers)
    sockets = bind_all(settings.host, _ports(found, port or (), gateway_port, free=free_ports))
    with _own_servers(environment, found, workers) if servers else nullcontext(environment) as told:
        if parallel:
            check_can_split(found, told.read(Settings), workers)
            raise typer.Exit(up_split(found, system_name(system, settings), told, sockets, workers))
        raise typer.Exit(up_together(found, told, sockets))


def _ports(system: "System", wanted: "Iterable[str]", gateway: int | None, *, free: bool) -> dict[str, int]:
    """The port of each part; 0 for any that is free. Raises CommandError."""
    from portico.cli.ports import GATEWAY, ports_of, read_ports

    ports = dict.fromkeys(ports_of(system), 0) if free else ports_of(system)
    chosen = {} if gateway is None else {GATEWAY: gateway}
    return ports | read_ports(system, wanted) | chosen


def _own_servers(environment: "Environment", system: "System", workers: int) -> "AbstractContextManager[Environment]":
    """Raises CommandError."""
    if sys.platform == "win32":
        from portico.cli.errors import CommandError

        raise CommandError(
            "Portico starts servers on Linux and macOS only.",
            "Start them yourself, and set DATABASE_URL, REDIS_URL and RABBITMQ_URL.",
        )
    from portico.cli.private_servers import private_servers

    return private_servers(environment, system, workers)
