"""`portico up`: a whole system, in one process or in one for each part."""

from typing import Annotated

import typer

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
) -> None:
    """Run a system: its gateway and each service, every one on a port of its own.

    Without a server configured all is embedded, in files under DATA_DIR. Ctrl-C stops it.
    """
    from portico.cli.places import GATEWAY, bind_all, chosen_system, environment_with, ports_of, read_ports
    from portico.kit.settings import Settings

    environment = environment_with(host)
    settings = environment.read(Settings)
    found = chosen_system(system, settings)
    wanted = read_ports(found, port or ())
    if gateway_port is not None:
        wanted[GATEWAY] = gateway_port
    free = dict.fromkeys(ports_of(found), 0) if free_ports else ports_of(found)
    parallel = split or workers > 1
    if parallel:
        from portico.cli.split import check_can_split

        check_can_split(found, settings, workers)
    sockets = bind_all(settings.host, free | wanted)
    if parallel:
        from portico.cli.split import up_split

        raise typer.Exit(up_split(found, system or settings.portico_system, environment, sockets, workers))
    from portico.cli.together import up_together

    raise typer.Exit(up_together(found, environment, sockets))
