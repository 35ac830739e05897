"""`portico export`: configuration for a proxy that is there already."""

from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True, help="Print the configuration of a proxy that stands in front of a system's gateway."
)

System = Annotated[str | None, typer.Argument(help="The system; the one in force if none is named.")]
Gateways = Annotated[
    list[str] | None,
    typer.Option("--gateway", help="Where the gateway is, host:port; its port on 127.0.0.1 if none. May be repeated."),
]
Hosts = Annotated[
    list[str] | None,
    typer.Option("--host", help="A name by which it is called: shop.example; any if none. May be repeated."),
]
Out = Annotated[str | None, typer.Option(help="The folder to write the file to, instead of printing it.")]


@app.command()
def nginx(
    system: System = None,
    *,
    gateway: Gateways = None,
    host: Hosts = None,
    listen: Annotated[
        str | None, typer.Option(help="The port to listen on, or address:port; 80, or 443 with TLS, if none.")
    ] = None,
    tls_certificate: Annotated[str | None, typer.Option(help="The certificate's file, where NGINX runs.")] = None,
    tls_key: Annotated[str | None, typer.Option(help="Its key's file. With both, port 80 leads to TLS.")] = None,
    out: Out = None,
) -> None:
    """Print what NGINX includes in its http block. Nothing needs to run."""
    from portico.cli.fronts import export, read_tls

    tls = read_tls(tls_certificate, tls_key)
    export("nginx", system, gateway, host, listen=listen, tls=tls, folder=out)


@app.command()
def traefik(system: System = None, *, gateway: Gateways = None, host: Hosts = None, out: Out = None) -> None:
    """Print the dynamic configuration for Traefik's file provider. Nothing needs to run."""
    from portico.cli.fronts import export

    export("traefik", system, gateway, host, folder=out)
