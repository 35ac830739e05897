"""`portico run`: one part of a system in this process."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from portico.kit.runtime.system import System
    from portico.kit.settings import Environment
    from portico.systems.composition import Composition

app = typer.Typer()


@app.command()
def run(
    service: Annotated[str, typer.Argument(help="The service's name in its system; or `gateway`.")],
    system: Annotated[str | None, typer.Option(help="The system that it belongs to.")] = None,
    host: Annotated[str | None, typer.Option(help="The address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="The port to listen on.", min=1, max=65_535)] = None,
    migrate: Annotated[
        bool, typer.Option("--migrate", help="Run pending migrations, also on a database server.")
    ] = False,
) -> None:
    """Run one service alone. {NAME}_SERVICE_URL says where each other service is.

    An embedded database is migrated automatically. A database server with pending migrations is rejected.
    """
    from portico.cli.environment import environment_with, find_chosen_system
    from portico.kit.runtime.serving import bind_all
    from portico.kit.runtime.system import GATEWAY
    from portico.kit.settings import Settings
    from portico.systems.composition import Composition

    environment = environment_with(host)
    settings = environment.read(Settings)
    found = find_chosen_system(system, settings)
    name = GATEWAY if service == GATEWAY else found.placement(service).name
    # First: clients must not connect to a process that refuses to start, and a mistake is reported before a taken port.
    Composition(found, environment, parts=[name]).host.check_settings()
    sockets = bind_all(settings.host, {name: port or found.ports[name]})
    raise typer.Exit(serve(found, environment, sockets, migrate=migrate))


def serve(
    system: "System", environment: "Environment", sockets: "Mapping[str, socket.socket]", *, migrate: bool
) -> int:
    """Serve the parts that `sockets` names until SIGTERM or Ctrl-C; return the exit status."""
    from portico.cli.banner import new_administrator, print_administrator
    from portico.cli.process import Process
    from portico.cli.process import run as run_loop
    from portico.kit.runtime.serving import local_address, ports_of
    from portico.kit.runtime.signals import stop_on_signals
    from portico.kit.runtime.system import GATEWAY

    # The gateway keeps its declared port: it is part of the tokens' default issuer, on which all processes must agree.
    moved = system.with_ports({name: port for name, port in ports_of(sockets).items() if name != GATEWAY})
    process = Process(moved, environment, sockets, migrating="upgrade" if migrate else "require")

    def ready(composition: "Composition") -> None:
        from rich.console import Console

        console = Console(stderr=True, highlight=False)
        for name, bound in sockets.items():
            settings = composition.host.settings
            scheme = settings.gateway_scheme if name == GATEWAY else "http"
            address = local_address(settings.host, bound.getsockname()[1], scheme)
            console.print(
                f"{name} of {system.name} answers at [cyan]{address}[/]; its documentation is at /docs", soft_wrap=True
            )
        print_administrator(new_administrator(composition))

    async def serve_until_stopped() -> int:
        with stop_on_signals() as stop:
            await process.serve(stop, ready=ready)
        return 0

    return run_loop(serve_until_stopped())
