"""What stands in front: where it listens, and where the gateway's instances are. And what both proxies' files say."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from portico.kit.runtime.serving import IDLE_SECONDS

# A connection that the gateway closes just as a request goes out on it fails, and a POST on it is not repeated: the
# proxy gives an idle one up well before the gateway does.
IDLE = IDLE_SECONDS - 2
KEPT_CONNECTIONS = 64
CONNECT_SECONDS = 2
MARGIN_SECONDS = 5  # so that the gateway's own 504, which is a problem document, comes first
FAILURES = 3
FAILED_SECONDS = 10

Lines = list[str]


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS at NGINX.

    Args:
        certificate: The file of its certificate, as NGINX finds it.
        key: The file of the certificate's key.
        redirect_from: The port whose callers are sent to TLS.
    """

    certificate: str
    key: str
    redirect_from: int = 80


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """A proxy in front of a gateway.

    Args:
        gateways: `host:port` of each instance of the gateway, at least one.
        hosts: The names by which it is called; any if none.
        listen: What NGINX listens on: a port, or an address with one. Traefik is told in its static configuration.
        tls: Where NGINX ends TLS; it does not if None.
    """

    gateways: tuple[str, ...]
    hosts: tuple[str, ...] = ()
    listen: str = "80"
    tls: Tls | None = None


def heading(system: str, command: str) -> Lines:
    """The comment at a file's head: what it is, and what the gateway has to be told."""
    return [
        f"# The way to the gateway of {system}, as `portico export {command}` made it. Make it anew rather than change it.",
        "#",
        "# The gateway believes what this proxy says of clients only if it knows the proxy: set TRUSTED_PROXIES, where the",
        "# gateway runs, to the address from which this proxy connects. Without, every client has the proxy's address, and",
        "# they share one rate limit.",
    ]


def apart(blocks: Sequence[Lines]) -> Lines:
    """All lines, with an empty one between two blocks."""
    return [line for number, block in enumerate(blocks) for line in ([""] if number else []) + block]


def slug(text: str) -> str:
    """`text` as a name in a configuration file."""
    return re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_")


def seconds(value: float) -> int:
    """Whole seconds, rounded up."""
    return -int(-value // 1)
