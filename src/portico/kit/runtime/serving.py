"""Serving ASGI apps on ports: several uvicorn servers in one loop that start and stop together.

A stock uvicorn server takes the process's signals, exits 143, hangs on an open event stream and, when its port is
taken, raises SystemExit through the loop. Here the process owns the signals, and every socket is bound before any
server starts.
"""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import uvicorn
from starlette.types import ASGIApp

from portico.kit._compat.uvicorn import WebSocketConnection
from portico.kit.runtime.uvicorn_protocols import LimitedConnection

IDLE_SECONDS = 5
"""after which an idle connection is closed: a proxy in front has to give it up before"""

_BACKLOG = 2048
_MOST_CONNECTIONS = 10_000
_LONGEST_MESSAGE = 1 << 20  # bytes of a WebSocket message, as at the gateway


class PortTaken(RuntimeError):
    """Something else listens there already."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(f"port {port} on {host} is taken by another process")
        self.host = host
        self.port = port


class AddressRefused(RuntimeError):
    """This machine has no such address, or the account may not listen there."""


@dataclass(frozen=True)
class Face:
    """An app, and the socket on which it is served."""

    name: str
    app: ASGIApp
    bound: socket.socket

    @property
    def port(self) -> int:
        return int(self.bound.getsockname()[1])


def bind(host: str, port: int) -> socket.socket:
    """A listening socket, inherited by children that are given it. Port 0 is any free one.

    Raises:
        PortTaken: somebody listens there.
        AddressRefused: there is no such address, or it takes more rights.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        bound = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(host, port) from error
        raise AddressRefused(f"can't listen on {host}:{port}: {error.strerror or error}") from error
    bound.set_inheritable(True)
    return bound


def bind_all(host: str, ports: Mapping[str, int]) -> dict[str, socket.socket]:
    """Bind a listening socket for each name: all of them or none.

    Raises:
        PortTaken: another process listens on one of the ports.
        AddressRefused: this machine has no such address, or the account may not listen there.
    """
    with contextlib.ExitStack() as stack:
        sockets = {name: stack.enter_context(bind(host, port)) for name, port in ports.items()}
        stack.pop_all()
    return sockets


def ports_of(sockets: Mapping[str, socket.socket]) -> dict[str, int]:
    """Return the port of each socket."""
    return {name: int(bound.getsockname()[1]) for name, bound in sockets.items()}


def local_address(host: str, port: int) -> str:
    """The URL by which this machine reaches what listens on `host`, which may stand for every interface."""
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 nothing is bound here
    return f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"


class _Server(uvicorn.Server):
    """A server that leaves the signals to the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Servers:
    """Serves faces until its block ends: stops accepting, lets requests in flight finish within `grace` seconds."""

    def __init__(self, faces: Sequence[Face], *, grace: float, options: Mapping[str, Any] | None = None) -> None:
        self._faces = faces
        self._servers = [_Server(_config(face, grace, options or {})) for face in faces]
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        for face, server in zip(self._faces, self._servers, strict=True):
            self._tasks.append(asyncio.create_task(server.serve(sockets=[face.bound]), name=f"server of {face.name}"))
        while not all(server.started for server in self._servers):
            if failed := [task for task in self._tasks if task.done()]:
                await asyncio.gather(*failed)
            await asyncio.sleep(0.005)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._servers:
            server.should_exit = True
        await asyncio.gather(*self._tasks)


def _config(face: Face, grace: float, options: Mapping[str, Any]) -> uvicorn.Config:
    return uvicorn.Config(
        face.app,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        date_header=True,
        proxy_headers=False,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=max(1, round(grace)),
        limit_concurrency=_MOST_CONNECTIONS,
        backlog=_BACKLOG,
        http=LimitedConnection,
        ws=WebSocketConnection,
        ws_max_size=_LONGEST_MESSAGE,
        **options,
    )
