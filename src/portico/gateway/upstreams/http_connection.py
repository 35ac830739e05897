"""HTTP/1.1 connections to service instances."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from typing import Any

import httptools

from portico.gateway.request_head import Header
from portico.gateway.upstreams.base import RequestBodyBroken, RequestChunks, ResponseReader
from portico.kit.calls.errors import CallFailed, ConnectionLost, ResponseInvalid
from portico.kit.foundation.stream_connection import StreamConnection

HIGH_WATER = 65536
INFORMATIONAL = range(100, 200)
BODILESS = frozenset((204, 304))
FRAMING = frozenset((b"content-length", b"transfer-encoding"))
MAX_FIELD_BYTES = 65536


class HttpConnection(asyncio.Protocol):
    """An HTTP/1.1 connection to an instance, with one request at a time.

    Args:
        service: The service's name, for errors.

    Attributes:
        is_open: Whether the connection is open.
        idle_since: When its last response was complete, by the clock of its pool.
    """

    def __init__(self, service: str) -> None:
        self.is_open = False
        self.idle_since = 0.0
        self._service = service
        self._loop = asyncio.get_running_loop()
        self._transport: Any = None
        self._writable: asyncio.Future[None] | None = None
        self._active = False
        self._body_task: asyncio.Task[None] | None = None
        self._response_reader: ResponseReader | None = None

    # Upstream side

    async def send(self, head: bytes, body: RequestChunks | None, *, chunked: bool, bodiless: bool) -> None:
        """Send a request and wait until its response begins. Raises ConnectionLost, ResponseInvalid.

        Args:
            head: Request line and header fields, including the empty line.
            body: The request body.
            chunked: Whether the body is sent chunked, because its length is unknown.
            bodiless: Whether the response has no body, whatever its headers say (HEAD).
        """
        self._expect_response(bodiless=bodiless)
        if not self.is_open:
            raise ConnectionLost(self._service, "the connection closed")
        self._transport.write(head)
        if body is not None:
            self._body_task = self._loop.create_task(self._send_body(body, chunked=chunked))
        await self.wait_begun()

    async def wait_begun(self) -> None:
        """Wait until the response begins. Raises ConnectionLost, ResponseInvalid."""
        await self._begun
        if self._failure is not None:
            raise self._failure

    def send_direct(self, head: bytes, reader: ResponseReader) -> None:
        """Send a request without body. `reader` reads the bytes of its response until `finish_direct` or `parse`."""
        self._response_reader = reader
        self._transport.write(head)

    def finish_direct(self) -> None:
        """Mark the response to `send_direct` as complete."""
        self._response_reader = None

    def parse(self, received: bytes) -> None:
        """Parse the response to `send_direct` here instead, from its first byte; `received` are the bytes so far."""
        self._response_reader = None
        self._expect_response(bodiless=False)
        if received:
            self.data_received(received)
        if not self.is_open:
            self._fail(ConnectionLost(self._service, "the connection closed"))

    def _expect_response(self, *, bodiless: bool) -> None:
        self.status = 0
        self.headers: list[Header] = []
        self._bodiless = bodiless
        self._field_bytes = 0
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._complete = self._keep_alive = self._surplus = False
        self._failure: CallFailed | None = None
        self._reader: asyncio.Future[None] | None = None
        self._target: StreamConnection | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._begun: asyncio.Future[None] = self._loop.create_future()
        self._active = True

    async def chunks(self) -> AsyncGenerator[bytes]:
        """Stream the response body. Raises ConnectionLost, ResponseInvalid."""
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

    @property
    def is_receiving(self) -> bool:
        """Whether the response is incomplete."""
        return not self._complete and self._failure is None

    def redirect(self, target: StreamConnection) -> None:
        """Write the rest of the body to `target` from now on, instead of `chunks`."""
        self.headers = []
        self._target = target
        while self._chunks:
            chunk = self._chunks.popleft()
            self._drop(len(chunk))
            target.write(chunk)

    def pause(self) -> None:
        """Stop reading the body."""
        if self.is_open:
            self._transport.pause_reading()

    def resume(self) -> None:
        """Continue reading the body."""
        if self.is_open:
            self._transport.resume_reading()

    def finish(self) -> bool:
        """Finish this response. Return whether the connection can be reused; close it if not."""
        self._active = False
        body_task, self._body_task = self._body_task, None
        is_sent = body_task is None or body_task.done()
        if not is_sent and body_task is not None:
            body_task.cancel()
        if self.is_open and is_sent and self._complete and self._keep_alive and not self._surplus and not self._chunks:
            return True
        self.close()
        return False

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.abort()

    def _drop(self, size: int) -> None:
        if self._buffered >= HIGH_WATER > self._buffered - size and self.is_open:
            self._transport.resume_reading()
        self._buffered -= size

    async def _send_body(self, body: RequestChunks, *, chunked: bool) -> None:
        try:
            async for chunk in body:
                self._transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunked else chunk)
                if self._writable is not None:
                    await self._writable
        except RequestBodyBroken:
            self.close()
            return
        if chunked:
            self._transport.write(b"0\r\n\r\n")

    # Transport callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self.is_open = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        self.resume_writing()
        if self._response_reader is not None:
            self._response_reader.connection_lost()
            return
        if not self._active or self._complete:
            return
        if self.status and exc is None and not any(name in FRAMING for name, _ in self.headers):
            self._end_body()  # the end of the connection ends it (RFC 9112 section 6.3)
        else:
            self._fail(ConnectionLost(self._service, "the connection closed"))

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        waiting, self._writable = self._writable, None
        _wake(waiting)

    def data_received(self, data: bytes) -> None:
        if self._response_reader is not None:
            self._response_reader.data_received(data)
            return
        if not self._active:
            self.close()  # data without a request
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(ResponseInvalid(self._service, type(error).__name__))
            self.close()

    def _fail(self, failure: CallFailed) -> None:
        if not self._complete:
            self._failure = self._failure or failure
            _wake(self._begun)
            _wake(self._reader)
            if self._target is not None:
                self._target.abort()

    def _end_body(self) -> None:
        self._complete = True
        _wake(self._reader)
        if self._target is not None:
            self._target.end()

    # Parser callbacks

    def on_message_begin(self) -> None:
        self._surplus = self._complete

    def on_header(self, name: bytes, value: bytes) -> None:
        self._field_bytes += len(name) + len(value)
        if self._field_bytes > MAX_FIELD_BYTES:
            raise ValueError("the response headers are too large")
        if not self.status:  # trailer fields do not become header fields (RFC 9110 section 6.5.1)
            self.headers.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if self._surplus or status in INFORMATIONAL:
            return
        self.status = status
        self._bodiless = self._bodiless or status in BODILESS
        if self._bodiless:
            # The parser would wait for the declared body, so the connection cannot be reused.
            self._complete = True
        _wake(self._begun)

    def on_body(self, body: bytes) -> None:
        if self._complete:
            self._surplus = True
            return
        if self._target is not None:
            self._target.write(body)
            return
        self._chunks.append(body)
        if self._buffered < HIGH_WATER <= self._buffered + len(body):
            self._transport.pause_reading()
        self._buffered += len(body)
        _wake(self._reader)

    def on_message_complete(self) -> None:
        if not self.status:
            self.headers = []  # informational response (RFC 9110 section 15.2); the final one follows
            return
        self._keep_alive = self._parser.should_keep_alive()
        self._end_body()


def _wake(waiter: "asyncio.Future[None] | None") -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
