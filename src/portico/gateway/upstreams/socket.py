"""A service behind sockets, in one or several instances."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from types import TracebackType
from typing import Self

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from portico.gateway.heads import Header
from portico.gateway.upstreams.base import Answer, HandshakeRefused, Sending, Tunnel
from portico.gateway.upstreams.socket_tunnel import SocketTunnel
from portico.kit.calls.addresses import Address
from portico.kit.calls.breaker import unwell
from portico.kit.calls.directory import Directory, Lease
from portico.kit.calls.errors import AnswerInvalid, CallFailed, CallTimedOut, ConnectionLost, Unreachable

CONNECT_TIMEOUT = 2.0
# Servers close a connection that idles for 5 s (uvicorn's default): let go before they do, or a request meets the close.
KEEP_ALIVE = 3.0
EVENT_STREAM = b"text/event-stream"


def open_session() -> aiohttp.ClientSession:
    """Connections to services, kept alive. How many is bounded by the requests in flight, which the plane bounds."""
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT),
        skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
        auto_decompress=False,
        max_line_size=16384,
        max_field_size=32768,
    )
    # It would send PUT and DELETE again, and a streamed body only half; the plane decides what is sent again.
    session._retry_connection = False  # noqa: SLF001 - there is no public switch
    return session


class SocketUpstream:
    """Sends requests to the instances of a service.

    Args:
        service: Its name in the system.
        directory: Knows the instances and how they fare.
        session: Its connections, shared by all services and closed by whoever opened it.
        longest_message: Bytes of a WebSocket message.
    """

    def __init__(
        self, service: str, directory: Directory, session: aiohttp.ClientSession, *, longest_message: int = 1 << 20
    ) -> None:
        self._service = service
        self._directory = directory
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
        with _Asking(self._service, lease, request):
            async with asyncio.timeout(request.timeout):
                response = await self._session.request(
                    request.method,
                    _url(address, request, address.scheme),
                    headers=_headers(address, request),
                    data=request.body,
                    allow_redirects=False,
                )
        return SocketAnswer(self._service, response, lease)

    async def connect(self, request: Sending) -> Tunnel:
        lease = await self._directory.lease(self._service)
        address = lease.instance.address
        with _Asking(self._service, lease, request):
            async with asyncio.timeout(request.timeout):
                socket = await self._session.ws_connect(
                    _url(address, request, address.scheme.replace("http", "ws")),
                    headers=_headers(address, request),
                    protocols=request.subprotocols,
                    max_msg_size=self._longest_message,
                )
        lease.succeeded()
        return SocketTunnel(self._service, socket)

    async def aclose(self) -> None:
        """The session and the directory are closed by whoever opened them."""


class SocketAnswer:
    """An answer on a connection, which goes back to the pool when it was read to its end."""

    def __init__(self, service: str, response: aiohttp.ClientResponse, lease: Lease) -> None:
        self.status = response.status
        self.headers: list[Header] = [(name.lower(), value) for name, value in response.raw_headers]
        self._service = service
        self._response = response
        self._lease = lease
        if unwell(self.status, self.headers):
            lease.failed()
        elif response.content_type.encode() == EVENT_STREAM:
            lease.succeeded()  # it may go on for hours: that it began is all that can be said

    async def chunks(self) -> AsyncGenerator[bytes]:
        try:
            async for chunk in self._response.content.iter_any():
                yield chunk
        except (aiohttp.ClientError, OSError) as error:
            self._lease.failed()
            raise ConnectionLost(self._service, "the answer broke off") from error
        self._lease.succeeded()

    async def aclose(self) -> None:
        self._lease.abandoned()
        self._response.close()


class _Asking:
    """Turns what the client library raises into what can come of a call, and tells the instance's breaker."""

    def __init__(self, service: str, lease: Lease, request: Sending) -> None:
        self._service = service
        self._lease = lease
        self._request = request

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            return
        if isinstance(error, aiohttp.WSServerHandshakeError):
            self._refused(error)
        failure = _failure(error)
        if failure is None or (self._request.body is not None and self._request.body.broken):
            self._lease.abandoned()
        else:
            self._lease.failed()
        if failure is not None:
            raise failure(self._service, type(error).__name__) from error

    def _refused(self, error: aiohttp.WSServerHandshakeError) -> None:
        self._lease.succeeded()
        headers = [(name.lower().encode(), value.encode()) for name, value in (error.headers or {}).items()]
        # The library has let go of the body; what describes it goes too.
        kept = [field for field in headers if not field[0].startswith(b"content-")]
        raise HandshakeRefused(error.status, kept, b"") from error


def _failure(error: BaseException) -> Callable[[str, str], CallFailed] | None:
    match error:
        case aiohttp.ClientConnectorError() | aiohttp.ConnectionTimeoutError():
            return Unreachable
        case TimeoutError():
            return CallTimedOut
        case aiohttp.ClientResponseError() | aiohttp.ClientPayloadError() | aiohttp.InvalidURL():
            return AnswerInvalid
        case aiohttp.ClientError() | OSError():
            return ConnectionLost
        case _:
            return None


def _url(address: Address, request: Sending, scheme: str) -> URL:
    """Built from what came, not parsed and quoted anew: the path must reach the service as the policy saw it."""
    query = "?" + request.query.decode("ascii") if request.query else ""
    host = f"[{address.host}]" if ":" in address.host else address.host
    return URL(f"{scheme}://{host}:{address.port}{request.path.decode('ascii')}{query}", encoded=True)


def _headers(address: Address, request: Sending) -> CIMultiDict[str]:
    headers = CIMultiDict({"Host": address.authority})
    for name, value in request.headers:
        headers.add(name.decode("ascii"), value.decode())
    return headers
