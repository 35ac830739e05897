"""A service reached over HTTP, in one or several instances."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from typing import Any

import aiohttp
from aiohttp import WSMsgType
from multidict import CIMultiDict
from yarl import URL

from portico.gateway.request_head import Header
from portico.gateway.upstreams.base import (
    CloseFrame,
    HandshakeRefused,
    UpstreamRequest,
    UpstreamResponse,
    UpstreamWebSocket,
)
from portico.gateway.upstreams.connection_pool import CONNECT_TIMEOUT, ConnectionPool
from portico.gateway.upstreams.http_connection import HttpConnection
from portico.kit.calls.addresses import InstanceAddress
from portico.kit.calls.breaker import is_proxy_error
from portico.kit.calls.directory import Directory, InstanceLease
from portico.kit.calls.errors import CallFailed, CallTimedOut, ConnectionLost, Unreachable
from portico.kit.foundation.stream_connection import StreamConnection, StreamSource

EVENT_STREAM = b"text/event-stream"
BODY_METHODS = frozenset(("POST", "PUT", "PATCH"))
_MAX_MESSAGE = 1 << 20  # bytes of a WebSocket message
ABNORMAL = 1006  # RFC 6455 section 7.4.1


def open_session() -> aiohttp.ClientSession:
    """Return the session that opens WebSockets. It has no limit of its own: the proxy limits concurrency."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT),
        skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
    )


class HttpUpstream:
    """Sends requests to the instances of a service.

    Args:
        service: The service's name in the system.
        directory: Tracks the instances and their breakers.
        connections: Connection pool, shared by all services and the fast plane. Its owner closes it.
        session: Opens WebSockets, shared by all services. Its owner closes it.
    """

    def __init__(
        self,
        service: str,
        directory: Directory,
        connections: ConnectionPool,
        session: aiohttp.ClientSession,
    ) -> None:
        self._service = service
        self._directory = directory
        self.connections = connections
        self._session = session

    @property
    def has_alternatives(self) -> bool:
        pool = self._directory.known(self._service)
        return pool is not None and len(pool.instances) > 1

    async def send(self, request: UpstreamRequest, tried: set[str]) -> UpstreamResponse:
        lease = await self._directory.lease(self._service, avoiding=tried)
        tried.add(lease.instance.address.origin)
        return await self.send_to(lease, request)

    async def send_to(self, lease: InstanceLease, request: UpstreamRequest) -> UpstreamResponse:
        """Send a request to this instance like `send`."""
        return await self._response(lease, request, self._send(lease.instance.address, request))

    def lease_now(self) -> InstanceLease | None:
        """Lease an instance without waiting; None if only `send` can lease one or report the error."""
        pool = self._directory.current(self._service)
        try:
            return None if pool is None else pool.lease()
        except CallFailed:
            return None

    async def await_response(
        self, lease: InstanceLease, connection: HttpConnection, request: UpstreamRequest
    ) -> UpstreamResponse:
        """Wait for the response to a request that was sent on a pooled connection, like `send`."""
        return await self._response(lease, request, self._begun(connection))

    async def _response(
        self, lease: InstanceLease, request: UpstreamRequest, begun: Coroutine[Any, Any, HttpConnection]
    ) -> "HttpResponse":
        try:
            async with asyncio.timeout(request.timeout):
                connection = await begun
        except TimeoutError:
            lease.record_failure()
            raise CallTimedOut(self._service, "no response in time") from None
        except CallFailed:
            if request.body is not None and request.body.broken:
                lease.record_abandoned()
            lease.record_failure()
            raise
        except BaseException:
            lease.record_abandoned()
            raise
        return HttpResponse(connection, lease, self.connections)

    async def connect(self, request: UpstreamRequest) -> UpstreamWebSocket:
        lease = await self._directory.lease(self._service)
        try:
            async with asyncio.timeout(request.timeout):
                socket = await self._open(lease.instance.address, request)
        except aiohttp.WSServerHandshakeError as error:
            lease.record_success()
            raise _refusal(error) from error
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            lease.record_failure()
            raise Unreachable(self._service, type(error).__name__) from error
        except TimeoutError:
            lease.record_failure()
            raise CallTimedOut(self._service, "no response in time") from None
        except (aiohttp.ClientError, OSError) as error:
            lease.record_failure()
            raise ConnectionLost(self._service, type(error).__name__) from error
        except BaseException:
            lease.record_abandoned()
            raise
        lease.record_success()
        return HttpWebSocket(self._service, socket)

    async def aclose(self) -> None:
        """Do nothing: the owner closes the pool, the session and the directory."""

    @staticmethod
    async def _begun(connection: HttpConnection) -> HttpConnection:
        try:
            await connection.wait_begun()
        except BaseException:
            connection.finish()
            raise
        return connection

    async def _send(self, address: InstanceAddress, request: UpstreamRequest) -> HttpConnection:
        connection = await self.connections.take(self._service, address)
        try:
            head, chunked = _head(address, request)
            await connection.send(head, request.body, chunked=chunked, bodiless=request.method == "HEAD")
        except BaseException:
            connection.finish()
            raise
        return connection

    async def _open(
        self, address: InstanceAddress, request: UpstreamRequest
    ) -> "aiohttp.ClientWebSocketResponse[bool]":
        headers = CIMultiDict({"Host": address.authority})
        for name, value in request.headers:
            headers.add(name.decode("ascii"), value.decode())
        return await self._session.ws_connect(
            # Already percent-encoded: the path must reach the service exactly as the policy checked it.
            URL(address.origin.replace("http", "ws", 1) + _target(request).decode("ascii"), encoded=True),
            headers=headers,
            protocols=request.subprotocols,
            max_msg_size=_MAX_MESSAGE,
        )


class HttpResponse:
    """A response on a pooled connection, which returns to the pool after the response was read completely."""

    def __init__(self, connection: HttpConnection, lease: InstanceLease, connections: ConnectionPool) -> None:
        self.status = connection.status
        self.headers: list[Header] = connection.headers
        self._connection = connection
        self._lease = lease
        self._connections = connections
        if is_proxy_error(self.status, self.headers):
            lease.record_failure()
        elif any(name == b"content-type" and value.startswith(EVENT_STREAM) for name, value in self.headers):
            lease.record_success()  # an event stream may last for hours, so its beginning counts as success

    async def chunks(self) -> AsyncGenerator[bytes]:
        try:
            async for chunk in self._connection.chunks():
                yield chunk
        except CallFailed:
            self._lease.record_failure()
            raise
        self._lease.record_success()

    async def aclose(self) -> None:
        self.connection_lost()

    # An event stream that is written directly to the client

    @property
    def may_redirect(self) -> bool:
        return self._connection.is_receiving

    def redirect(self, target: StreamConnection) -> StreamSource:
        self.headers = []
        self._connection.redirect(target)
        return self

    def connection_lost(self) -> None:
        self._lease.record_abandoned()
        self._connections.release(self._lease.instance.address, self._connection)

    def pause_writing(self) -> None:
        self._connection.pause()

    def resume_writing(self) -> None:
        self._connection.resume()


def _target(request: UpstreamRequest) -> bytes:
    return request.path + b"?" + request.query if request.query else request.path


def _head(address: InstanceAddress, request: UpstreamRequest) -> tuple[bytes, bool]:
    """Return the request head in bytes, and whether the body must be sent chunked."""
    has_length = any(name == b"content-length" for name, _ in request.headers)
    chunked = request.body is not None and not has_length
    lines = [b"%b %b HTTP/1.1\r\nhost: %b" % (request.method.encode(), _target(request), address.host_field)]
    lines.extend([b"%b: %b" % field for field in request.headers])
    if chunked:
        lines.append(b"transfer-encoding: chunked")
    elif not has_length and request.method in BODY_METHODS:
        lines.append(b"content-length: 0")
    return b"\r\n".join(lines) + b"\r\n\r\n", chunked


def _refusal(error: aiohttp.WSServerHandshakeError) -> HandshakeRefused:
    headers = [(name.lower().encode(), value.encode()) for name, value in (error.headers or {}).items()]
    # aiohttp has discarded the body, so the headers that describe it are dropped too.
    return HandshakeRefused(error.status, [field for field in headers if not field[0].startswith(b"content-")], b"")


class HttpWebSocket:
    """A WebSocket to an instance of a service. aiohttp responds to pings."""

    def __init__(self, service: str, socket: aiohttp.ClientWebSocketResponse[bool]) -> None:
        self.subprotocol = socket.protocol
        self._service = service
        self._socket = socket

    async def send(self, message: str | bytes) -> None:
        try:
            if isinstance(message, str):
                await self._socket.send_str(message)
            else:
                await self._socket.send_bytes(message)
        except (aiohttp.ClientError, OSError) as error:
            raise ConnectionLost(self._service, "the WebSocket is closed") from error

    async def receive(self) -> str | bytes | CloseFrame:
        message = await self._socket.receive()
        match message.type:
            case WSMsgType.TEXT | WSMsgType.BINARY:
                data: str | bytes = message.data
                return data
            case WSMsgType.CLOSE:
                return CloseFrame(message.data or 1005, message.extra or "")
            case _:
                return CloseFrame(self._socket.close_code or ABNORMAL)

    async def aclose(self, code: int, reason: str) -> None:
        await self._socket.close(code=code, message=reason.encode())
