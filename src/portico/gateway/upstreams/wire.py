"""One connection to a service that speaks HTTP/1.1: a request at a time, bodies as they come."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from typing import Any

import httptools

from portico.gateway.request_head import Header
from portico.gateway.upstreams.base import Body, UploadBroken
from portico.kit.calls.errors import AnswerInvalid, CallFailed, ConnectionLost

HIGH_WATER = 65536
INFORMATIONAL = range(100, 200)
BODILESS = frozenset((204, 304))
FRAMING = frozenset((b"content-length", b"transfer-encoding"))
MOST_FIELD_BYTES = 65536


class Wire(asyncio.Protocol):
    """A connection. `reusable` says whether another request may follow the one that was answered.

    Args:
        service: Who is at the other end, for what went wrong.
    """

    def __init__(self, service: str) -> None:
        self.idle_since = 0.0
        self._service = service
        self._loop = asyncio.get_running_loop()
        self._transport: Any = None
        self._writable: asyncio.Future[None] | None = None
        self._open = False
        self._active = False
        self._uploading: asyncio.Task[None] | None = None

    # The upstream's side

    async def ask(self, head: bytes, body: Body | None, *, chunked: bool, bodiless: bool) -> None:
        """Send a request and wait until its answer begins. Raises ConnectionLost, AnswerInvalid.

        Args:
            head: Request line and fields, with the empty line.
            body: What follows.
            chunked: Whether its length was not announced.
            bodiless: Whether the answer has no body whatever its fields say (HEAD).
        """
        self.status = 0
        self.headers: list[Header] = []
        self._bodiless = bodiless
        self._field_bytes = 0
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._complete = self._keeps = self._surplus = False
        self._failure: CallFailed | None = None
        self._reader: asyncio.Future[None] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._begun: asyncio.Future[None] = self._loop.create_future()
        self._active = True
        if not self._open:
            raise ConnectionLost(self._service, "the connection closed")
        self._transport.write(head)
        if body is not None:
            self._uploading = self._loop.create_task(self._upload(body, chunked=chunked))
        await self._begun
        if self._failure is not None:
            raise self._failure

    async def chunks(self) -> AsyncGenerator[bytes]:
        """The body as it comes. Raises ConnectionLost, AnswerInvalid."""
        while True:
            while self._chunks:
                chunk = self._chunks.popleft()
                self._drop(len(chunk))
                yield chunk
            if self._complete:
                return
            if self._failure is not None:
                raise self._failure
            self._reader = self._loop.create_future()
            await self._reader

    def end(self) -> bool:
        """Done with this answer: whether another request may be sent. Closes the connection if not."""
        self._active = False
        uploading, self._uploading = self._uploading, None
        whole = uploading is None or uploading.done()
        if not whole and uploading is not None:
            uploading.cancel()
        if self._open and whole and self._complete and self._keeps and not self._surplus and not self._chunks:
            return True
        self.close()
        return False

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def is_open(self) -> bool:
        return self._open

    def _drop(self, size: int) -> None:
        if self._buffered >= HIGH_WATER > self._buffered - size and self._open:
            self._transport.resume_reading()
        self._buffered -= size

    async def _upload(self, body: Body, *, chunked: bool) -> None:
        try:
            async for chunk in body:
                self._transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunked else chunk)
                if self._writable is not None:
                    await self._writable
        except UploadBroken:
            self.close()
            return
        if chunked:
            self._transport.write(b"0\r\n\r\n")

    # The connection's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._open = True

    def connection_lost(self, exc: Exception | None) -> None:
        self._open = False
        self.resume_writing()
        if not self._active or self._complete:
            return
        if self.status and exc is None and not any(name in FRAMING for name, _ in self.headers):
            self._complete = True  # its end is the connection's (RFC 9112 section 6.3)
            _wake(self._reader)
        else:
            self._fail(ConnectionLost(self._service, "the connection closed"))

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        waiting, self._writable = self._writable, None
        _wake(waiting)

    def data_received(self, data: bytes) -> None:
        if not self._active:
            self.close()  # nobody asked
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(AnswerInvalid(self._service, type(error).__name__))
            self.close()

    def _fail(self, failure: CallFailed) -> None:
        if not self._complete:
            self._failure = self._failure or failure
            _wake(self._begun)
            _wake(self._reader)

    # The parser's side

    def on_message_begin(self) -> None:
        self._surplus = self._complete

    def on_header(self, name: bytes, value: bytes) -> None:
        self._field_bytes += len(name) + len(value)
        if self._field_bytes > MOST_FIELD_BYTES:
            raise ValueError("the answer's fields are too large")
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if self._surplus or status in INFORMATIONAL:
            return
        self.status = status
        self._bodiless = self._bodiless or status in BODILESS
        if self._bodiless:
            # The parser would wait for the body that the fields announce, so the connection can't be used again.
            self._complete = True
        _wake(self._begun)

    def on_body(self, body: bytes) -> None:
        if self._complete:
            self._surplus = True
            return
        self._chunks.append(body)
        if self._buffered < HIGH_WATER <= self._buffered + len(body):
            self._transport.pause_reading()
        self._buffered += len(body)
        _wake(self._reader)

    def on_message_complete(self) -> None:
        if not self.status:
            self.headers = []  # an informational answer (RFC 9110 section 15.2): the real one follows
            return
        self._keeps = self._parser.should_keep_alive()
        self._complete = True
        _wake(self._reader)


def _wake(waiter: "asyncio.Future[None] | None") -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
