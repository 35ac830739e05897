"""What `portico export` makes of its options."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from portico.cli.environment import current_settings
from portico.cli.errors import CommandError
from portico.cli.ports import chosen_system
from portico.gateway import policy_of
from portico.gateway.export import ExportOptions, PublicRoutes, Tls, nginx, traefik
from portico.kit.runtime.system import System
from portico.kit.settings import Settings

Proxy = Literal["nginx", "traefik"]
ENDINGS: dict[Proxy, str] = {"nginx": "conf", "traefik": "yaml"}

_HOST = r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])"
_HIGHEST = 65_535


def export(
    proxy: Proxy,
    system: str | None,
    gateways: Sequence[str] | None,
    hosts: Sequence[str] | None,
    *,
    listen: str | None = None,
    tls: Tls | None = None,
    folder: str | None,
) -> None:
    """Print the file of `proxy`, or write it to `folder`. Raises CommandError, NoSuchSystem."""
    settings = current_settings()
    found = chosen_system(system, settings)
    front = ExportOptions(
        gateways=tuple(map(_gateway, gateways or [f"127.0.0.1:{found.gateway}"])),
        hosts=tuple(map(_named, hosts or [])),
        listen=_listen(listen) if listen else ("80" if tls is None else "443"),
        tls=tls,
    )
    text = configuration(proxy, found, settings, front)
    if folder is None:
        print(text, end="")
    else:
        print(f"Wrote {write(Path(folder) / file_name(proxy, found), text)}")


def configuration(proxy: Proxy, system: System, settings: Settings, front: ExportOptions) -> str:
    """The text of the file for `proxy`."""
    surface = PublicRoutes.of(policy_of(system, settings))
    return nginx(system, surface, front) if proxy == "nginx" else traefik(system, surface, front)


def file_name(proxy: Proxy, system: System) -> str:
    """What the file of `system` is called."""
    return f"{system.name}.{ENDINGS[proxy]}"


def write(path: Path, text: str) -> Path:
    """Write `text` to `path`, whose folder is made. Raises CommandError where that can't be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    except OSError as error:
        raise CommandError(
            f"{path} can't be written: {error.strerror}.", "Name a folder that this account may write to with --out."
        ) from error
    return path


def read_tls(certificate: str | None, key: str | None) -> Tls | None:
    """Both files, or none. Raises CommandError."""
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise CommandError("TLS takes a certificate and its key.", "Name both: --tls-certificate and --tls-key.")
    for file in (certificate, key):
        if not re.fullmatch(r"[^\"'\\$;{}\x00-\x1f]+", file):
            raise CommandError(f"NGINX can't be told of the file {file!r}.", "Give it a plainer name.")
    return Tls(certificate, key)


def _gateway(text: str) -> str:
    if not _is_place(text):
        raise CommandError(
            f"--gateway {text} is no place of a gateway.", "Write a host and a port, as in --gateway 10.0.0.5:8080."
        )
    return text


def _listen(text: str) -> str:
    if not _is_place(text) and not _is_port(text):
        raise CommandError(f"NGINX can't listen on {text}.", "Write a port, or an address and a port: --listen 8000.")
    return text


def _named(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9.-]+", text):
        raise CommandError(f"--host {text} is no host's name.", "Write it without port or path: --host shop.example.")
    return text


def _is_place(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return re.fullmatch(_HOST, host) is not None and _is_port(port)


def _is_port(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,5}", text) is not None and 0 < int(text) <= _HIGHEST
