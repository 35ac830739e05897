"""A service behind sockets, in one or several instances."""

import asyncio
from collections.abc import AsyncGenerator

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from portico.gateway.request_head import Header
from portico.gateway.upstreams.base import Answer, HandshakeRefused, Sending, Tunnel
from portico.gateway.upstreams.connections import CONNECT_TIMEOUT, Connections
from portico.gateway.upstreams.socket_tunnel import SocketTunnel
from portico.gateway.upstreams.wire import Wire
from portico.kit.calls.addresses import Address
from portico.kit.calls.breaker import is_proxy_error
from portico.kit.calls.directory import Directory, Lease
from portico.kit.calls.errors import CallFailed, CallTimedOut, ConnectionLost, Unreachable

EVENT_STREAM = b"text/event-stream"
BODY_METHODS = frozenset(("POST", "PUT", "PATCH"))


def open_session() -> aiohttp.ClientSession:
    """What opens WebSockets. How many is bounded by the plane."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT),
        skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
    )


class SocketUpstream:
    """Sends requests to the instances of a service.

    Args:
        service: Its name in the system.
        directory: Knows the instances and how they fare.
        connections: Shared by all services and closed by whoever made them.
        session: Opens WebSockets; shared and closed likewise.
        longest_message: Bytes of a WebSocket message.
    """

    def __init__(
        self,
        service: str,
        directory: Directory,
        connections: Connections,
        session: aiohttp.ClientSession,
        *,
        longest_message: int = 1 << 20,
    ) -> None:
        self._service = service
        self._directory = directory
        self._connections = connections
        self._session = session
        self._longest_message = longest_message

    @property
    def several(self) -> bool:
        pool = self._directory.known(self._service)
        return pool is not None and len(pool.instances) > 1

    async def send(self, request: Sending, tried: set[str]) -> Answer:
        lease = await self._directory.lease(self._service, avoiding=tried)
        address = lease.instance.address
        tried.add(address.origin)
        try:
            async with asyncio.timeout(request.timeout):
                wire = await self._ask(address, request)
        except TimeoutError:
            lease.failed()
            raise CallTimedOut(self._service, "no answer in time") from None
        except CallFailed:
            if request.body is not None and request.body.broken:
                lease.abandoned()
            lease.failed()
            raise
        except BaseException:
            lease.abandoned()
            raise
        return SocketAnswer(wire, lease, self._connections)

    async def connect(self, request: Sending) -> Tunnel:
        lease = await self._directory.lease(self._service)
        try:
            async with asyncio.timeout(request.timeout):
                socket = await self._open(lease.instance.address, request)
        except aiohttp.WSServerHandshakeError as error:
            lease.succeeded()
            raise _refusal(error) from error
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            lease.failed()
            raise Unreachable(self._service, type(error).__name__) from error
        except TimeoutError:
            lease.failed()
            raise CallTimedOut(self._service, "no answer in time") from None
        except (aiohttp.ClientError, OSError) as error:
            lease.failed()
            raise ConnectionLost(self._service, type(error).__name__) from error
        except BaseException:
            lease.abandoned()
            raise
        lease.succeeded()
        return SocketTunnel(self._service, socket)

    async def aclose(self) -> None:
        """Connections, session and directory are closed by whoever opened them."""

    async def _ask(self, address: Address, request: Sending) -> Wire:
        wire = await self._connections.take(self._service, address)
        try:
            head, chunked = _head(address, request)
            await wire.ask(head, request.body, chunked=chunked, bodiless=request.method == "HEAD")
        except BaseException:
            wire.end()
            raise
        return wire

    async def _open(self, address: Address, request: Sending) -> "aiohttp.ClientWebSocketResponse[bool]":
        headers = CIMultiDict({"Host": address.authority})
        for name, value in request.headers:
            headers.add(name.decode("ascii"), value.decode())
        return await self._session.ws_connect(
            # Built from what came, not quoted anew: the path must reach the service as the policy saw it.
            URL(address.origin.replace("http", "ws", 1) + _target(request).decode("ascii"), encoded=True),
            headers=headers,
            protocols=request.subprotocols,
            max_msg_size=self._longest_message,
        )


class SocketAnswer:
    """An answer on a connection, which is given back when it was read to its end."""

    def __init__(self, wire: Wire, lease: Lease, connections: Connections) -> None:
        self.status = wire.status
        self.headers: list[Header] = wire.headers
        self._wire = wire
        self._lease = lease
        self._connections = connections
        if is_proxy_error(self.status, self.headers):
            lease.failed()
        elif any(name == b"content-type" and value.startswith(EVENT_STREAM) for name, value in self.headers):
            lease.succeeded()  # it may go on for hours: that it began is all that can be said

    async def chunks(self) -> AsyncGenerator[bytes]:
        try:
            async for chunk in self._wire.chunks():
                yield chunk
        except CallFailed:
            self._lease.failed()
            raise
        self._lease.succeeded()

    async def aclose(self) -> None:
        self._lease.abandoned()
        self._connections.give_back(self._lease.instance.address, self._wire)


def _target(request: Sending) -> bytes:
    return request.path + b"?" + request.query if request.query else request.path


def _head(address: Address, request: Sending) -> tuple[bytes, bool]:
    """The request up to its body, and whether the body's length is not announced."""
    announced = any(name == b"content-length" for name, _ in request.headers)
    chunked = request.body is not None and not announced
    lines = [b"%b %b HTTP/1.1\r\nhost: %b" % (request.method.encode(), _target(request), address.authority.encode())]
    lines.extend([b"%b: %b" % field for field in request.headers])
    if chunked:
        lines.append(b"transfer-encoding: chunked")
    elif not announced and request.method in BODY_METHODS:
        lines.append(b"content-length: 0")
    return b"\r\n".join(lines) + b"\r\n\r\n", chunked


def _refusal(error: aiohttp.WSServerHandshakeError) -> HandshakeRefused:
    headers = [(name.lower().encode(), value.encode()) for name, value in (error.headers or {}).items()]
    # The library has let go of the body; what describes it goes too.
    return HandshakeRefused(error.status, [field for field in headers if not field[0].startswith(b"content-")], b"")
