"""One request to an app in this process, and its answer."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, MutableMapping
from typing import Any

from starlette.types import ASGIApp

from portico.gateway.request_head import Header
from portico.gateway.upstreams.base import Sending, UploadBroken
from portico.kit.calls.errors import ConnectionLost
from portico.kit.telemetry.logs import get_logger

log = get_logger(__name__)

Message = MutableMapping[str, Any]

HIGH_WATER = 65536
BODILESS = frozenset((204, 304))
FAILED = b"Internal Server Error"
FAILED_FIELDS: list[Header] = [
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"content-length", str(len(FAILED)).encode()),
]


class LocalExchange:
    """The app writes on one side, the plane reads on the other; neither waits for the other's end."""

    def __init__(self, service: str, request: Sending) -> None:
        self.status = 0
        self.headers: list[Header] = []
        self._service = service
        self._body = request.body
        self._bodiless = request.method == "HEAD"
        self._received = False
        self._loop = asyncio.get_running_loop()
        self._begun: asyncio.Future[None] = self._loop.create_future()
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._complete = False
        self._ended = False
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None

    # The plane's side

    async def begun(self) -> None:
        """Wait until the answer begins."""
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
                raise ConnectionLost(self._service, "the answer broke off")
            self._reader = self._loop.create_future()
            await self._reader

    async def aclose(self) -> None:
        self.leave()

    def leave(self) -> None:
        """The client is gone, or has all it wants: the app sees a disconnect, and what it still writes is dropped."""
        _wake(self._gone)
        _wake(self._writer)

    # The app's side

    async def run(self, app: ASGIApp, scope: Message) -> None:
        """Call the app, in a task of its own."""
        try:
            await app(scope, self._receive, self._send)
        except Exception as error:
            log.exception("app_failed", service=self._service, error=type(error).__name__)
        if not self._begun.done():
            self._begin(500, FAILED_FIELDS)
            self._add(FAILED)
            self._complete = True
        self._ended = True
        _wake(self._reader)

    async def _receive(self) -> Message:
        if self._received:
            await asyncio.wait([self._gone])
            return {"type": "http.disconnect"}
        try:
            chunk = None if self._body is None else await anext(self._body, None)
        except UploadBroken:
            chunk, self._received = b"", True
            return {"type": "http.disconnect"}
        if chunk is None:
            self._received = True
        return {"type": "http.request", "body": chunk or b"", "more_body": not self._received}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._begin(message["status"], message.get("headers", ()))
        elif message["type"] == "http.response.body" and not self._complete:
            self._add(message.get("body", b""))
            if not message.get("more_body", False):
                self._complete = True
                _wake(self._gone)
            _wake(self._reader)
            await self._drained()

    def _begin(self, status: int, headers: Any) -> None:
        self.status = status
        self.headers = [(bytes(name).lower(), bytes(value)) for name, value in headers]
        self._bodiless = self._bodiless or status in BODILESS
        _wake(self._begun)

    def _add(self, chunk: bytes) -> None:
        if chunk and not self._bodiless and not (self._gone.done() and not self._complete):
            self._chunks.append(chunk)
            self._buffered += len(chunk)

    async def _drained(self) -> None:
        while self._buffered >= HIGH_WATER and not self._gone.done():
            self._writer = self._loop.create_future()
            await self._writer


def _wake(waiter: "asyncio.Future[None] | None") -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
