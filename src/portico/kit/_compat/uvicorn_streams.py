"""Private APIs of uvicorn, written for uvicorn 0.54: takes the connection of a response that has begun from its protocol.

uvicorn keeps a task, its protocol, parser and request for as long as a response lasts: about 30 KB. A stream that is
written directly to the transport needs none of them.

One fast path: `uvicorn_streams`. Without it, the request's task sends the stream.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final, cast

from portico.kit._compat import Library, is_enabled, require
from portico.kit._compat.uvicorn import LimitedHttpProtocol
from portico.kit.foundation.stream_connection import StreamConnection, StreamSource

_IS_ENABLED = is_enabled("uvicorn_streams")
_CYCLES: tuple[type[Any], ...] = ()
_PROTOCOLS: tuple[type[Any], ...] = ()

if _IS_ENABLED:
    with Library("uvicorn", "0.54").shape("uvicorn_streams"):
        from uvicorn.protocols.http import h11_impl, httptools_impl
        from uvicorn.protocols.http.flow_control import FlowControl

        _CYCLES = (httptools_impl.RequestResponseCycle, h11_impl.RequestResponseCycle)
        _PROTOCOLS = (httptools_impl.HttpToolsProtocol, h11_impl.H11Protocol)
        for cycle_class in _CYCLES:
            require(cycle_class, "scope", "transport", "flow", "disconnected", "on_response", "run_asgi")
            require(cycle_class, "response_started", "response_complete", "more_body")
        for protocol_class in _PROTOCOLS:
            require(protocol_class, "cycle", "connections", "_unset_keepalive_if_required", "connection_lost")
        require(httptools_impl.RequestResponseCycle, "chunked_encoding")
        require(httptools_impl.HttpToolsProtocol, "parser")
        require(FlowControl, "resume_reading")

__all__ = ["detach"]

_MAX_INPUT: Final = 65_536
"""Maximum number of bytes that a client may send behind its request."""


def detach(send: Any, source: StreamSource) -> StreamConnection | None:
    """Take the connection of a response from uvicorn. The request's app must return without sending anything further.

    Args:
        send: uvicorn's own ASGI send.
        source: what writes the body from now on.

    Returns:
        The connection, or None: the fast path is off, it is another server, the response cannot be a stream, the request is
        incomplete or the client has left.
    """
    cycle = getattr(send, "__self__", None)
    if not isinstance(cycle, _CYCLES) or not _can_detach(cycle):
        return None
    transport: asyncio.Transport = cycle.transport
    protocol = cast("Any", transport.get_protocol())
    if not isinstance(protocol, _PROTOCOLS) or protocol.cycle is not cycle:
        return None  # a pipelined request follows
    if isinstance(protocol, httptools_impl.HttpToolsProtocol):
        is_chunked = bool(cycle.chunked_encoding)
        protocol.parser = None  # type: ignore[assignment]  # breaks a ring of references
    else:
        is_chunked = cycle.scope["http_version"] == "1.1"
    protocol._unset_keepalive_if_required()  # noqa: SLF001  # uvicorn's
    release = protocol.detach() if isinstance(protocol, LimitedHttpProtocol) else None
    cycle.disconnected = True  # the app may return, and what it still sends is discarded
    cycle.flow.resume_reading()
    protocol.connections.discard(protocol)
    connection = _DetachedConnection(transport, source, protocol.connections, release, is_chunked=is_chunked)
    protocol.connections.add(connection)
    transport.set_protocol(connection)
    return connection


def _can_detach(cycle: Any) -> bool:
    return (
        cycle.response_started
        and not (cycle.response_complete or cycle.disconnected or cycle.more_body or cycle.transport.is_closing())
        and cycle.scope["method"] != "HEAD"
    )


class _DetachedConnection(asyncio.Protocol):
    """A connection that only sends. uvicorn counts it, and calls `shutdown` when it stops.

    Args:
        transport: The connection.
        source: What writes to it.
        connections: uvicorn's open connections.
        release: Called with the transport when it is closed.
        is_chunked: Whether the body has the transfer coding `chunked`; else the end of the connection ends it.
    """

    __slots__ = ("_connections", "_is_chunked", "_received", "_release", "_source", "transport")

    def __init__(
        self,
        transport: asyncio.Transport,
        source: StreamSource,
        connections: set[Any],
        release: Callable[[asyncio.Transport], None] | None,
        *,
        is_chunked: bool,
    ) -> None:
        self.transport = transport
        self._source = source
        self._connections = connections
        self._release = release
        self._is_chunked = is_chunked
        self._received = 0

    @property
    def unread(self) -> int:
        return self.transport.get_write_buffer_size()

    def write(self, chunk: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if self._is_chunked else chunk)

    def end(self) -> None:
        if not self.transport.is_closing():
            if self._is_chunked:
                self.transport.write(b"0\r\n\r\n")
            self.transport.close()

    def abort(self) -> None:
        self.transport.abort()

    def shutdown(self) -> None:
        """End the stream, because the server stops."""
        self.end()

    # Transport callbacks

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        if self._received > _MAX_INPUT:
            self.abort()

    def pause_writing(self) -> None:
        self._source.pause_writing()

    def resume_writing(self) -> None:
        self._source.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio passes it
        self._connections.discard(self)
        if self._release is not None:
            self._release(self.transport)
        self._source.connection_lost()
