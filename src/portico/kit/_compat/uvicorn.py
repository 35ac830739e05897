"""Private APIs of uvicorn, written for uvicorn 0.54: its protocols, which the kit's connections extend.

uvicorn sets no limits before a request reaches its app. With its own protocol, one header field of any length fills the memory,
a long target costs the square of its length while every other request waits, and a head that never ends holds its connection
forever. There is no public way to set such limits.
"""

import asyncio
import contextlib
from abc import abstractmethod
from asyncio.events import TimerHandle
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, ClassVar, Final, cast

import uvicorn

from portico.kit._compat import Library, require

with Library("uvicorn", "0.54").shape():
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
    from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
    from uvicorn.server import ServerState

    require(HttpToolsProtocol, "connection_made", "connection_lost", "data_received", "send_400_response")
    require(HttpToolsProtocol, "on_message_begin", "on_headers_complete", "on_body", "on_message_complete")
    require(HttpToolsProtocol, "loop", "transport", "cycle", "timeout_keep_alive_handler")
    require(HttpToolsProtocol, "timeout_keep_alive", "timeout_keep_alive_task")
    require(RequestResponseCycle, "response_complete")
    require(WebSocketsSansIOProtocol, "send", "initial_response", "close_sent", "handshake_complete")
    require(
        uvicorn.Server, "capture_signals", "main_loop", "on_tick", "serve", "server_state", "started", "should_exit"
    )
    require(uvicorn.Config, "load")
    require(ServerState, "connections", "tasks")

__all__ = [
    "HeadFault",
    "LimitedHttpProtocol",
    "ServerState",
    "SignalFreeServer",
    "WebSocketConnection",
    "protocol_factory",
]

MAX_HEAD: Final = 65_536
HEAD_SECONDS: Final = 10.0


class HeadFault(Enum):
    """Why a connection is closed before its request is complete."""

    MALFORMED = "malformed"
    TOO_LONG = "too long"
    TOO_SLOW = "too slow"


class LimitedHttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol for HTTP/1.1 with two limits.

    Attributes:
        max_head: Bytes that may come in a row without being part of a body: a head, chunk extensions, trailers.
        head_seconds: Seconds within which a head must be complete.
    """

    max_head: ClassVar[int] = MAX_HEAD
    head_seconds: ClassVar[float] = HEAD_SECONDS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_size = 0
        self._in_head = True
        self._head_timer: TimerHandle | None = None

    @abstractmethod
    def rejection(self, fault: HeadFault) -> bytes:
        """Return the whole response to a request that is rejected before its app sees it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._head_size += len(data)
        super().data_received(data)
        if self.transport.is_closing() or self.transport.get_protocol() is not self:  # closed, or a WebSocket now
            self._stop_timer()
        elif self._head_size > self.max_head:
            self._reject(HeadFault.TOO_LONG)
        elif self._in_head:
            self._start_timer()
        else:
            self._stop_timer()
            self._keep_idle_short()

    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_size = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._head_size = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._head_size = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  uvicorn's text has no details
        self._reject(HeadFault.MALFORMED)

    def _start_timer(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_seconds, self._reject, HeadFault.TOO_SLOW)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    @property
    def _is_responding(self) -> bool:
        cycle = cast(
            "RequestResponseCycle | None", self.cycle
        )  # None before the first request, whatever uvicorn declares
        return cycle is not None and not cycle.response_complete

    def _keep_idle_short(self) -> None:
        """Restart uvicorn's timer of an idle connection, which empty lines between requests have stopped."""
        if self.timeout_keep_alive_task is None and not self._is_responding:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _reject(self, fault: HeadFault) -> None:
        """Respond, unless a response is under way, and close: where the next request begins is not known."""
        self._stop_timer()
        if not self._is_responding:
            self.transport.write(self.rejection(fault))
        self.transport.close()


class WebSocketConnection(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket, which accepts an HTTP response as the complete answer to a handshake.

    uvicorn's own protocol sends the response, and then logs an error about an app that never completed the handshake.
    """

    async def send(self, message: Any) -> None:
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True


class SignalFreeServer(uvicorn.Server):
    """A server that leaves signals and the time to its process, which calls `tick` once a second.

    Args:
        config: uvicorn's configuration.
        unread_seconds: how long a client may read nothing of what was written before its connection is aborted. uvicorn
            waits forever, even for a response that is complete.
    """

    def __init__(self, config: uvicorn.Config, *, unread_seconds: float) -> None:
        super().__init__(config)
        self._stopping = asyncio.Event()
        self._unread_seconds = unread_seconds
        self._unread: dict[asyncio.Transport, tuple[int, float]] = {}

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def stop(self) -> None:
        """Stop accepting, and end when the requests in flight have ended."""
        self.should_exit = True
        self._stopping.set()

    async def main_loop(self) -> None:
        """Wait until the server stops. uvicorn's own loop wakes up ten times a second."""
        await self.tick()
        await self._stopping.wait()

    async def tick(self) -> None:
        """Update the Date header and abort unread connections."""
        await self.on_tick(0)
        self._abort_unread()

    def _abort_unread(self) -> None:
        """Abort the connections whose clients have read nothing for too long. Remember the others with unread bytes."""
        now, before, self._unread = asyncio.get_running_loop().time(), self._unread, {}
        for connection in list(self.server_state.connections):
            transport: asyncio.Transport = connection.transport
            if not (size := transport.get_write_buffer_size()):
                continue
            earlier, since = before.get(transport, (size + 1, now))
            since = now if size < earlier else since
            if now - since >= self._unread_seconds:
                transport.abort()
            else:
                self._unread[transport] = size, since


def protocol_factory(config: uvicorn.Config, state: ServerState) -> Callable[[], asyncio.Protocol]:
    """Return what makes the protocol of each connection, for a server that is not uvicorn's. Loads the configuration."""
    config.load()

    def make() -> asyncio.Protocol:
        made: asyncio.Protocol = config.http_protocol_class(config=config, server_state=state, app_state={})  # type: ignore[call-arg]  # the class is chosen at run time
        return made

    return make
