"""A service in this process: the gateway calls its ASGI application directly.

The behaviour is the same as over a socket. The application runs in its own task and context, so it sees no context
variables of the gateway. If the client disconnects, the application is not cancelled but receives a disconnect. An
exception becomes a 500 or an incomplete response. A fast writer waits when its buffer is full.
"""

import asyncio
import contextvars
from collections import deque
from collections.abc import AsyncGenerator, Coroutine, MutableMapping
from typing import Any

from starlette.types import ASGIApp

from portico.gateway.request_head import Header
from portico.gateway.upstreams.base import RequestBodyBroken, UpstreamRequest, UpstreamResponse, UpstreamWebSocket
from portico.gateway.upstreams.local_scopes import http_scope, websocket_scope
from portico.gateway.upstreams.local_websocket import LocalWebSocket
from portico.kit.calls.errors import CallTimedOut, ConnectionLost
from portico.kit.foundation.stream_connection import StreamConnection, StreamSource
from portico.kit.telemetry.logs import get_logger

logger = get_logger(__name__)

Message = MutableMapping[str, Any]

HIGH_WATER = 65536
BODILESS = frozenset((204, 304))
FAILED = b"Internal Server Error"
FAILED_HEADERS: list[Header] = [
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"content-length", str(len(FAILED)).encode()),
]


class LocalUpstream:
    """Calls the ASGI application of a service.

    Args:
        service: The service's name in the system.
        app: The application; its host runs its lifespan.
    """

    has_alternatives = False

    def __init__(self, service: str, app: ASGIApp) -> None:
        self._service = service
        self._app = app
        self._tasks: set[asyncio.Task[None]] = set()

    async def send(self, request: UpstreamRequest, tried: set[str]) -> UpstreamResponse:
        tried.add(self._service)
        response = LocalResponse(self._service, request)
        self.start(response, request)
        return await self.await_response(response, request)

    def start(self, response: "LocalResponse", request: UpstreamRequest) -> None:
        """Call the application, which writes the response."""
        self._start(response.run(self._app, http_scope(request, self._service)))

    async def await_response(self, response: "LocalResponse", request: UpstreamRequest) -> UpstreamResponse:
        """Wait until the response begins. Raises CallTimedOut."""
        try:
            async with asyncio.timeout(request.timeout):
                await response.wait_begun()
        except TimeoutError:
            response.disconnect()
            raise CallTimedOut(self._service, "no response in time") from None
        except BaseException:
            response.disconnect()
            raise
        return response

    @property
    def service(self) -> str:
        """The service's name."""
        return self._service

    async def connect(self, request: UpstreamRequest) -> UpstreamWebSocket:
        websocket = LocalWebSocket(self._service)
        self._start(websocket.run(self._app, websocket_scope(request, self._service)))
        try:
            async with asyncio.timeout(request.timeout):
                await websocket.wait_opened()
        except TimeoutError:
            websocket.disconnect()
            raise CallTimedOut(self._service, "no response in time") from None
        except BaseException:
            websocket.disconnect()
            raise
        return websocket

    async def aclose(self) -> None:
        """Cancel all running calls. Their clients have already disconnected."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class LocalResponse:
    """A response of a local application: the application writes it while the proxy reads it."""

    def __init__(self, service: str, request: UpstreamRequest) -> None:
        self.status = 0
        self._handed_over = False
        self.headers: list[Header] = []
        self._service = service
        self._body = request.body
        self._bodiless = request.method == "HEAD"
        self._body_received = False
        self._loop = asyncio.get_running_loop()
        self._begun: asyncio.Future[None] = self._loop.create_future()
        self._disconnected: asyncio.Future[None] = self._loop.create_future()
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._complete = False
        self._ended = False
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._stream: LocalStream | None = None

    # Proxy side

    async def wait_begun(self) -> None:
        """Wait until the response begins."""
        await self._begun

    async def chunks(self) -> AsyncGenerator[bytes]:
        while True:
            while self._chunks:
                chunk = self._chunks.popleft()
                self._buffered -= len(chunk)
                if self._buffered < HIGH_WATER:
                    _wake(self._writer)
                yield chunk
            if self._complete:
                return
            if self._ended:
                raise ConnectionLost(self._service, "the response ended early")
            self._reader = self._loop.create_future()
            await self._reader

    async def aclose(self) -> None:
        self.disconnect()

    def disconnect(self) -> None:
        """Send the application a disconnect, and discard further output."""
        _wake(self._disconnected)
        _wake(self._writer)
        if self._stream is not None:
            self._stream.connection_lost()

    @property
    def may_redirect(self) -> bool:
        return self._stream is not None and not self._complete and not self._disconnected.done()

    def redirect(self, target: StreamConnection) -> StreamSource:
        stream, self._stream = self._stream, None
        if stream is None:
            raise RuntimeError("only a response that was handed over can be redirected")
        while self._chunks:
            target.write(self._chunks.popleft())
        stream.redirect(target)
        return stream

    # Application side

    def hand_over(self, source: StreamSource) -> StreamConnection | None:
        """Hand over the response: the application writes it after it has returned (see kit.http.stream_connections)."""
        if self._bodiless or self._complete or self._disconnected.done():
            return None
        self._stream = LocalStream(self, source)
        self._handed_over = True
        return self._stream

    async def run(self, app: ASGIApp, scope: Message) -> None:
        """Call the application."""
        try:
            await app(scope, self._receive, self._send)
        except Exception as error:
            logger.exception("service_failed", service=self._service, error=type(error).__name__)
            self._handed_over = False
        if not self._begun.done():
            self._begin(500, FAILED_HEADERS)
            self._add(FAILED)
            self._complete = True
        if not self._handed_over:
            self.end_early()

    def end_early(self) -> None:
        """End the response. If it is incomplete, the proxy notices that."""
        self._ended = True
        _wake(self._reader)

    def end_body(self) -> None:
        """Complete the response."""
        self._complete = True
        _wake(self._reader)

    @property
    def buffered(self) -> int:
        return self._buffered

    def write(self, chunk: bytes) -> None:
        """Add a part of the body."""
        self._add(chunk)
        _wake(self._reader)

    async def _receive(self) -> Message:
        if self._body_received:
            await asyncio.wait([self._disconnected])
            return {"type": "http.disconnect"}
        try:
            chunk = None if self._body is None else await anext(self._body, None)
        except RequestBodyBroken:
            chunk, self._body_received = b"", True
            return {"type": "http.disconnect"}
        if chunk is None:
            self._body_received = True
        return {"type": "http.request", "body": chunk or b"", "more_body": not self._body_received}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._begin(message["status"], message.get("headers", ()))
        elif message["type"] == "http.response.body" and not self._complete and not self._handed_over:
            self._add(message.get("body", b""))
            if not message.get("more_body", False):
                self._complete = True
                _wake(self._disconnected)
            _wake(self._reader)
            await self._wait_for_reader()

    def _begin(self, status: int, headers: Any) -> None:
        self.status = status
        self.headers = [(bytes(name).lower(), bytes(value)) for name, value in headers]
        self._bodiless = self._bodiless or status in BODILESS
        _wake(self._begun)

    def _add(self, chunk: bytes) -> None:
        if chunk and not self._bodiless and not (self._disconnected.done() and not self._complete):
            self._chunks.append(chunk)
            self._buffered += len(chunk)

    async def _wait_for_reader(self) -> None:
        while self._buffered >= HIGH_WATER and not self._disconnected.done():
            self._writer = self._loop.create_future()
            await self._writer


class LocalStream:
    """A response that the service writes after its task has ended, to the proxy or directly to the client.

    Args:
        response: the response that the proxy reads.
        source: the writer of the response.
    """

    __slots__ = ("_source", "_target")

    def __init__(self, response: LocalResponse, source: StreamSource) -> None:
        self._target: LocalResponse | StreamConnection = response
        self._source: StreamSource | None = source

    def redirect(self, target: StreamConnection) -> None:
        """Write to `target` from now on."""
        self._target = target

    # The service writes

    @property
    def unread(self) -> int:
        target = self._target
        return target.buffered if isinstance(target, LocalResponse) else target.unread

    def write(self, chunk: bytes) -> None:
        if self._source is not None:
            self._target.write(chunk)

    def end(self) -> None:
        if self._source is None:
            return
        if isinstance(self._target, LocalResponse):
            self._target.end_body()
        else:
            self._target.end()
        self.connection_lost()

    def abort(self) -> None:
        if self._source is None:
            return
        if isinstance(self._target, LocalResponse):
            self._target.end_early()
        else:
            self._target.abort()
        self.connection_lost()

    # The client's connection

    def connection_lost(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            source.connection_lost()

    def pause_writing(self) -> None:
        if self._source is not None:
            self._source.pause_writing()

    def resume_writing(self) -> None:
        if self._source is not None:
            self._source.resume_writing()


def _wake(waiter: "asyncio.Future[None] | None") -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
