"""Interface of all upstreams. The proxy does not know how an upstream reaches its service."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Protocol

from portico.gateway.request_head import Header
from portico.kit.foundation.stream_connection import StreamConnection, StreamSource


class RequestChunks(Protocol):
    """A request body as a stream of chunks, which can be read once."""

    broken: bool

    def __aiter__(self) -> "RequestChunks": ...

    async def __anext__(self) -> bytes:
        """Return the next chunk. Raises RequestBodyBroken after setting `broken`."""


@dataclass(slots=True)
class UpstreamRequest:
    """A request to a service.

    Args:
        path: The path as the client sent it.
        headers: Header fields with names in lower case, without Host.
        timeout: Seconds until the response must have begun.
        body: The body; None if the request has none.
        subprotocols: The subprotocols that a WebSocket handshake offers.
    """

    method: str
    path: bytes
    query: bytes
    headers: list[Header]
    timeout: float
    body: RequestChunks | None = None
    subprotocols: list[str] = field(default_factory=list)


class UpstreamResponse(Protocol):
    """A response that has begun. The caller must close it."""

    status: int
    headers: list[Header]

    def chunks(self) -> AsyncGenerator[bytes]:
        """Stream the body. Raises ConnectionLost if it ends early."""

    @property
    def may_redirect(self) -> bool:
        """Whether the rest of the body can be redirected."""

    def redirect(self, target: StreamConnection) -> StreamSource:
        """Write the rest of the body to a connection from now on. Call it instead of `chunks` and `aclose`.

        Args:
            target: the connection; it ends or aborts together with the body.

        Returns:
            The source of the body. It must be notified when the target is lost.
        """

    async def aclose(self) -> None:
        """Release the response and the unread rest of its body."""


@dataclass(frozen=True, slots=True)
class CloseFrame:
    """Close code and reason with which the other side closed the WebSocket."""

    code: int = 1005
    reason: str = ""


class ResponseReader(Protocol):
    """Reads the bytes of one response itself."""

    def data_received(self, data: bytes) -> None:
        """Read a part of the response."""

    def connection_lost(self) -> None:
        """The connection has closed."""


class UpstreamWebSocket(Protocol):
    """An open WebSocket to a service."""

    subprotocol: str | None

    async def send(self, message: str | bytes) -> None:
        """Send one message. Raises ConnectionLost."""

    async def receive(self) -> str | bytes | CloseFrame:
        """Return the service's next message, or its close frame."""

    async def aclose(self, code: int, reason: str) -> None:
        """Close the WebSocket."""


class HandshakeRefused(Exception):
    """The service refused a WebSocket handshake with an HTTP response.

    Args:
        status: The status of the response.
        headers: The header fields of the response.
        body: The body, truncated to a maximum size.
    """

    def __init__(self, status: int, headers: list[Header], body: bytes) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers
        self.body = body


class RequestBodyBroken(Exception):
    """The request body cannot be completed: the client disconnected, or the body is too large."""


class Upstream(Protocol):
    """One service with one or several instances.

    Raises the errors of `portico.kit.calls.errors`: Unreachable if nothing was sent; ConnectionLost and CallTimedOut if
    the outcome is unknown; an error for an invalid response.
    """

    async def send(self, request: UpstreamRequest, tried: set[str]) -> UpstreamResponse:
        """Send a request and wait until its response begins.

        Args:
            request: The request.
            tried: Instances to avoid. The instance that is used is added.
        """

    async def connect(self, request: UpstreamRequest) -> UpstreamWebSocket:
        """Open a WebSocket. Raises HandshakeRefused if the service refuses it."""

    @property
    def has_alternatives(self) -> bool:
        """Whether the service has other instances to try if one fails."""

    async def aclose(self) -> None:
        """Close all connections."""
