"""`portico export`: configuration of a proxy in front of the gateway, of the monitoring of a system, and of an API client."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from portico.kit.foundation.errors import CommandError

if TYPE_CHECKING:
    from portico.gateway.export import ExportOptions, Tls
    from portico.kit.runtime.system import System as SystemDeclaration
    from portico.kit.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    help="Print the configuration of a proxy, of monitoring or of an API client.",
)

System = Annotated[str | None, typer.Argument(help="The system. Default: PORTICO_SYSTEM.")]
Gateways = Annotated[
    list[str] | None,
    typer.Option("--gateway", help="A gateway's host:port. Default: its port on 127.0.0.1. May be repeated."),
]
Hosts = Annotated[
    list[str] | None, typer.Option("--host", help="A host name to serve: shop.example. Default: any. May be repeated.")
]
Out = Annotated[str | None, typer.Option(help="The folder to write the file to, instead of printing it.")]

Proxy = Literal["nginx", "traefik"]
EXTENSIONS: dict[Proxy, str] = {"nginx": "conf", "traefik": "yaml"}

_HOST = r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])"
_MAX_PORT = 65_535


@app.command()
def nginx(
    system: System = None,
    *,
    gateway: Gateways = None,
    host: Hosts = None,
    listen: Annotated[
        str | None, typer.Option(help="The port or address:port to listen on. Default: 80, or 443 with TLS.")
    ] = None,
    tls_certificate: Annotated[str | None, typer.Option(help="The certificate's file on NGINX's machine.")] = None,
    tls_key: Annotated[
        str | None, typer.Option(help="The key's file. With both files, port 80 redirects to TLS.")
    ] = None,
    direct: Annotated[
        bool, typer.Option("--direct", help="Forward to the services themselves, without a gateway.")
    ] = False,
    target: Annotated[
        list[str] | None,
        typer.Option(
            help="With --direct: a service's NAME=host:port. Default: its port on 127.0.0.1. May be repeated."
        ),
    ] = None,
    out: Out = None,
) -> None:
    """Print what NGINX includes in its http block. The system need not run."""
    tls = read_tls(tls_certificate, tls_key)
    if not direct:
        if target:
            raise CommandError("--target needs --direct.", "Name gateways with --gateway.")
        export("nginx", system, gateway, host, listen=listen, tls=tls, folder=out)
        return
    if gateway:
        raise CommandError("--direct uses no gateway.", "Name services with --target instead of --gateway.")
    export_direct(system, target or [], host, listen=listen, tls=tls, folder=out)


@app.command()
def traefik(system: System = None, *, gateway: Gateways = None, host: Hosts = None, out: Out = None) -> None:
    """Print the dynamic configuration for Traefik's file provider. The system need not run."""
    export("traefik", system, gateway, host, folder=out)


@app.command()
def prometheus(
    system: System = None,
    *,
    target: Annotated[
        list[str] | None,
        typer.Option(help="A part's NAME=host:port. Default: its port on 127.0.0.1. May be repeated, also for a part."),
    ] = None,
    rules: Annotated[bool, typer.Option("--rules", help="Print the alert rules instead.")] = False,
    out: Annotated[str | None, typer.Option(help="The folder to write both files to, instead of printing one.")] = None,
) -> None:
    """Print the configuration of Prometheus, which scrapes all parts, or its alert rules. The system need not run."""
    found = _chosen(system)
    configured, ruled, _ = monitoring_files(found, target or []).items()
    if out is None:
        print((ruled if rules else configured)[1], end="")
        return
    for name, text in (configured, ruled):
        print(f"Wrote {_write(Path(out) / name, text)}")


@app.command()
def grafana(system: System = None, *, out: Out = None) -> None:
    """Print a Grafana dashboard for the metrics that `portico export prometheus` collects. The system need not run."""
    *_, (name, text) = monitoring_files(_chosen(system)).items()
    _print_or_write(text, name, out)


@app.command()
def postman(
    system: System = None,
    *,
    address: Annotated[str | None, typer.Option(help="The gateway's address. Default: its port on 127.0.0.1.")] = None,
    out: Out = None,
) -> None:
    """Print a Postman collection of all operations, from the OpenAPI document. The system need not run."""
    import asyncio

    from portico.cli.openapi import fetch_document
    from portico.gateway.export import postman as postman_collection

    found = _chosen(system)
    document = asyncio.run(fetch_document(None, system))
    text = postman_collection(document, address or f"http://127.0.0.1:{found.gateway}")
    _print_or_write(text, f"{found.name}.postman.json", out)


def export(
    proxy: Proxy,
    system: str | None,
    gateways: Sequence[str] | None,
    hosts: Sequence[str] | None,
    *,
    listen: str | None = None,
    tls: "Tls | None" = None,
    folder: str | None,
) -> None:
    """Print the configuration of `proxy`, or write it to `folder`. Raises CommandError, NoSuchSystem."""
    from portico.cli.environment import current_settings

    found = _chosen(system)
    options = _options(gateways or [f"127.0.0.1:{found.gateway}"], hosts, listen, tls)
    _print_or_write(configuration(proxy, found, current_settings(), options), file_name(proxy, found), folder)


def export_direct(
    system: str | None,
    targets: Sequence[str],
    hosts: Sequence[str] | None,
    *,
    listen: str | None = None,
    tls: "Tls | None" = None,
    folder: str | None,
) -> None:
    """Print the configuration of NGINX in front of the services, or write it. Raises CommandError, NoSuchSystem."""
    from portico.cli.environment import current_settings

    found = _chosen(system)
    text = direct_configuration(found, current_settings(), _options([], hosts, listen, tls), targets)
    _print_or_write(text, file_name("nginx", found), folder)


def monitoring_files(system: "SystemDeclaration", targets: Sequence[str] = ()) -> dict[str, str]:
    """Return the configuration of Prometheus, its alert rules and the Grafana dashboard, by name of the file.

    Args:
        system: the system.
        targets: addresses of parts that do not listen on their port on 127.0.0.1, as NAME=host:port.

    Raises:
        CommandError: a target is not a part and its address.
    """
    from portico.gateway.export import grafana, prometheus, prometheus_rules, rules_file

    return {
        f"{system.name}.prometheus.yaml": prometheus(system, _targets(system, targets)),
        rules_file(system): prometheus_rules(system),
        f"{system.name}.grafana.json": grafana(system),
    }


def configuration(proxy: Proxy, system: "SystemDeclaration", settings: "Settings", options: "ExportOptions") -> str:
    """Return the configuration of `system` for `proxy`."""
    from portico.gateway import policy_of
    from portico.gateway.export import PublicRoutes
    from portico.gateway.export import nginx as nginx_configuration
    from portico.gateway.export import traefik as traefik_configuration

    routes = PublicRoutes.of(policy_of(system, settings))
    write = nginx_configuration if proxy == "nginx" else traefik_configuration
    return write(system, routes, options)


def direct_configuration(
    system: "SystemDeclaration", settings: "Settings", options: "ExportOptions", targets: Sequence[str] = ()
) -> str:
    """Return the configuration of NGINX in front of the services of `system`.

    Args:
        system: the system.
        settings: limits, rates and CORS_ORIGINS.
        options: where NGINX listens.
        targets: addresses of services that do not listen on their port on 127.0.0.1, as NAME=host:port.

    Raises:
        CommandError: a target is not a service and its address.
    """
    from portico.gateway import policy_of
    from portico.gateway.export import nginx_direct

    named = _targets(system, targets, {each.name: each.port for each in system.placements})
    return nginx_direct(system, policy_of(system, settings), options, named)


def file_name(proxy: Proxy, system: "SystemDeclaration") -> str:
    """Return the name of the file for `system`."""
    return f"{system.name}.{EXTENSIONS[proxy]}"


def read_tls(certificate: str | None, key: str | None) -> "Tls | None":
    """Return both files, or None. Raises CommandError if only one is given."""
    from portico.gateway.export import Tls

    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise CommandError("TLS needs a certificate and its key.", "Name both: --tls-certificate and --tls-key.")
    for file in (certificate, key):
        if not re.fullmatch(r"[^\"'\\$;{}\x00-\x1f]+", file):
            raise CommandError(
                f"The file name {file!r} cannot be used in an NGINX configuration.", "Use letters, digits, /, . and -."
            )
    return Tls(certificate, key)


def _chosen(system: str | None) -> "SystemDeclaration":
    """Return the chosen system. Raises NoSuchSystem."""
    from portico.cli.environment import current_settings, find_chosen_system

    return find_chosen_system(system, current_settings())


def _options(
    gateways: Sequence[str], hosts: Sequence[str] | None, listen: str | None, tls: "Tls | None"
) -> "ExportOptions":
    """Return the checked options of a proxy. Raises CommandError."""
    from portico.gateway.export import ExportOptions

    checked = tuple(map(_check_gateway, gateways))
    return ExportOptions(checked, tuple(map(_check_host, hosts or [])), _listen(listen, tls), tls)


def _targets(
    system: "SystemDeclaration", given: Sequence[str], ports: Mapping[str, int] | None = None
) -> dict[str, list[str]]:
    """Return the addresses of each part of `ports`, by default of all. Raises CommandError."""
    ports = ports or system.ports
    named: dict[str, list[str]] = {}
    for text in given:
        part, _, address = text.partition("=")
        if part not in ports or not _is_address(address):
            raise CommandError(
                f"--target {text} is not a part and its address.",
                f"Write it as in --target {next(iter(ports))}=10.0.0.5:8080. Parts are {', '.join(ports)}.",
            )
        named.setdefault(part, []).append(address)
    return {part: named.get(part, [f"127.0.0.1:{port}"]) for part, port in ports.items()}


def _print_or_write(text: str, name: str, folder: str | None) -> None:
    """Print `text`, or write it to the file `name` in `folder`. Raises CommandError."""
    if folder is None:
        print(text, end="")
    else:
        print(f"Wrote {_write(Path(folder) / name, text)}")


def _write(path: Path, text: str) -> Path:
    """Write `text` to `path`, and create its folder. Raises CommandError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    except OSError as error:
        raise CommandError(
            f"{path} cannot be written: {error.strerror}.", "Name a writable folder with --out."
        ) from error
    return path


def _check_gateway(text: str) -> str:
    if not _is_address(text):
        raise CommandError(f"--gateway {text} is not a host and a port.", "Write both, as in --gateway 10.0.0.5:8080.")
    return text


def _check_listen(text: str) -> str:
    if not _is_address(text) and not _is_port(text):
        raise CommandError(f"NGINX cannot listen on {text}.", "Write a port, or an address and a port: --listen 8000.")
    return text


def _listen(text: str | None, tls: "Tls | None") -> str:
    if text is None:
        return "80" if tls is None else "443"
    return _check_listen(text)


def _check_host(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9.-]+", text):
        raise CommandError(f"--host {text} is not a host name.", "Write it without port or path: --host shop.example.")
    return text


def _is_address(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return re.fullmatch(_HOST, host) is not None and _is_port(port)


def _is_port(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,5}", text) is not None and 0 < int(text) <= _MAX_PORT
