"""Serve ASGI apps on ports: several uvicorn servers in one event loop start and stop together.

An unmodified uvicorn server handles the process's signals, exits with 143, blocks on open event streams, and raises
SystemExit if its port is in use. Here the process handles signals, and every socket is bound before any server starts.
"""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from types import TracebackType
from typing import Any, Self

import uvicorn
from starlette.types import ASGIApp

from portico.kit._compat.uvicorn import HEAD_SECONDS
from portico.kit._compat.uvicorn_server import SignalFreeServer
from portico.kit.foundation.shares import share_of
from portico.kit.runtime.tls import ServerCertificate
from portico.kit.runtime.uvicorn_protocols import CountedWebSocket, LimitedConnection, OpenConnections
from portico.kit.settings import Settings
from portico.kit.settings.values import Network

IDLE_SECONDS = 5
"""Seconds until an idle connection is closed. A proxy in front must close it earlier."""

_BACKLOG = 2048
LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1"))
_MAX_MESSAGE_BYTES = 1 << 20  # maximum size (bytes) of a WebSocket message, as at the gateway


class PortTaken(RuntimeError):
    """Another process listens on the port."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(f"Port {port} on {host} is in use by another process.")
        self.host = host
        self.port = port


class AddressRefused(RuntimeError):
    """This machine does not have the address, or the account may not listen on it."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Limits of the connections of one port.

    Args:
        total: maximum number; requests on further connections fail with 503.
        each: maximum number per client address; further connections are closed with 429.
        exempt: networks of proxies, whose connections are not counted per address.
        proxies: networks whose connections begin with a header of the PROXY protocol.
        unread_seconds: how long a client may stop reading a response before its connection is aborted.
        head_seconds: time limit for the head of a request.
    """

    total: int = 10_000
    each: int = 10_000
    exempt: tuple[Network, ...] = ()
    unread_seconds: float = 30.0
    head_seconds: float = HEAD_SECONDS
    proxies: tuple[Network, ...] = ()

    @classmethod
    def of(cls, settings: Settings, *, behind_gateway: bool) -> Self:
        """Return the limits in the settings. Behind a gateway, this machine is exempt: the gateway may run on it."""
        exempt = (*settings.trusted_proxies, *(LOOPBACK if behind_gateway else ()))
        each = share_of(settings.max_connections, settings.max_client_share)
        proxies = settings.trusted_proxies if settings.proxy_protocol and not behind_gateway else ()
        return cls(settings.max_connections, each, exempt, settings.request_timeout, settings.head_timeout, proxies)


@dataclass(frozen=True)
class ServedApp:
    """An app, the socket that serves it, the limits and the class of its connections, and the certificate for TLS."""

    name: str
    app: ASGIApp
    bound: socket.socket
    limits: ConnectionLimits = ConnectionLimits()
    connection: type[LimitedConnection] = LimitedConnection
    certificate: ServerCertificate | None = None

    @property
    def port(self) -> int:
        return int(self.bound.getsockname()[1])


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket that child processes can inherit. Port 0 selects a free port.

    Raises:
        PortTaken: another process listens on the port.
        AddressRefused: this machine does not have the address, or the account may not listen on it.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        bound = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(host, port) from error
        raise AddressRefused(f"Cannot listen on {host}:{port}: {error.strerror or error}.") from error
    bound.set_inheritable(True)
    return bound


def bind_all(host: str, ports: Mapping[str, int]) -> dict[str, socket.socket]:
    """Bind a listening socket for each name. Bind all of them or none.

    Raises:
        PortTaken: another process listens on one of the ports.
        AddressRefused: this machine does not have the address, or the account may not listen on it.
    """
    with contextlib.ExitStack() as stack:
        sockets = {name: stack.enter_context(bind(host, port)) for name, port in ports.items()}
        stack.pop_all()
    return sockets


def ports_of(sockets: Mapping[str, socket.socket]) -> dict[str, int]:
    """Return the port of each socket."""
    return {name: int(bound.getsockname()[1]) for name, bound in sockets.items()}


def local_address(host: str, port: int, scheme: str = "http") -> str:
    """Return the URL at which this machine reaches a server on `host`, which may mean every interface."""
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # nothing is bound here
    return f"{scheme}://[{reached}]:{port}" if ":" in reached else f"{scheme}://{reached}:{port}"


class Servers:
    """Serves apps until its block ends. It then stops accepting and waits for requests in flight.

    Args:
        served_apps: the apps with their sockets.
        grace: how long (seconds) requests in flight may continue.
    """

    def __init__(self, served_apps: Sequence[ServedApp], *, grace: float) -> None:
        self._faces = served_apps
        self._servers = [
            SignalFreeServer(_config(served, grace), unread_seconds=served.limits.unread_seconds)
            for served in served_apps
        ]
        self._tasks: list[asyncio.Task[None]] = []
        self._ticker: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        for served, server in zip(self._faces, self._servers, strict=True):
            self._tasks.append(
                asyncio.create_task(server.serve(sockets=[served.bound]), name=f"server of {served.name}")
            )
        while not all(server.started for server in self._servers):
            if failed := [task for task in self._tasks if task.done()]:
                await asyncio.gather(*failed)
            await asyncio.sleep(0.005)
        self._ticker = asyncio.create_task(self._tick(), name="ticks of the servers")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._servers:
            server.stop()
        await asyncio.gather(*self._tasks)
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.wait([self._ticker])

    async def _tick(self) -> None:
        """Run the time-dependent work of all servers once a second."""
        while True:
            await asyncio.sleep(1.0)
            for server in self._servers:
                await server.tick()
            for served in self._faces:
                if served.certificate is not None:
                    served.certificate.refresh()


def _config(served: ServedApp, grace: float) -> uvicorn.Config:
    counted = {"open_connections": OpenConnections(served.limits.each, served.limits.exempt)}
    limited = {**counted, "head_seconds": served.limits.head_seconds, "proxies": served.limits.proxies}
    certificate = served.certificate
    tls: dict[str, Any] = {} if certificate is None else {"ssl_context_factory": lambda *_: certificate.context}
    return uvicorn.Config(
        served.app,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        date_header=True,
        proxy_headers=False,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=max(1, round(grace)),
        limit_concurrency=served.limits.total,
        backlog=_BACKLOG,
        http=type("_Connection", (served.connection,), limited),
        ws=type("_WebSocket", (CountedWebSocket,), counted),
        ws_max_size=_MAX_MESSAGE_BYTES,
        **tls,
    )
