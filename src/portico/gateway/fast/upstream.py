"""Forwarding to a service: over an idle connection to one of its instances, or by calling its application."""

from functools import partial
from typing import Any

import httptools

from portico.gateway.access_log import Outcome
from portico.gateway.fast.answer import (
    BODILESS,
    CHUNKED,
    LAST_CHUNK,
    MAX_HEAD,
    ChunkReader,
    chunk_of,
    head_of,
    read_head,
)
from portico.gateway.fast.exchange import Exchange, Response
from portico.gateway.fast.memo import encode_headers
from portico.gateway.upstreams import HttpUpstream, LocalUpstream
from portico.gateway.upstreams.base import UpstreamRequest
from portico.gateway.upstreams.http_connection import HttpConnection
from portico.gateway.upstreams.local import LocalResponse, Message
from portico.kit.calls.directory import InstanceLease
from portico.kit.foundation.request_framing import HEAD_END


class HttpForwarding(Exchange):
    """A request to an instance of a service, on an idle connection.

    If the response is not plain, the ASGI plane takes over, with all bytes that have arrived.
    """

    __slots__ = ("_chunks", "_is_paused", "_is_reusable", "_received", "connection", "lease", "upstream")

    upstream: HttpUpstream
    lease: InstanceLease
    connection: HttpConnection | None

    def start(self) -> None:
        self._received = b""
        self._chunks: ChunkReader | None = None
        self._is_reusable = True
        self._is_paused = False
        upstream = self.known.route.upstream
        if not isinstance(upstream, HttpUpstream) or (lease := upstream.lease_now()) is None:
            self.hand_over(is_tried=False)
            return
        self.upstream, self.lease = upstream, lease
        address = lease.instance.address
        self.connection = upstream.connections.take_idle(address)
        if self.connection is None:
            self.hand_over()  # the ASGI plane opens a connection, which later requests can use
            return
        plain, passing = self.request, self.known.passing_bytes
        if plain.state is not None or plain.passing:
            passing = encode_headers(plain.id_headers[2:]) + passing
        head = b"%bx-request-id: %b\r\ntraceparent: %b\r\nhost: %b\r\n%b"
        fields = (plain.line[0], plain.request_id, plain.trace, address.host_field, passing)
        self.connection.send_direct(head % fields, self)

    def abandon(self) -> None:
        self.lease.record_abandoned()
        if self.connection is not None:
            self.connection.finish_direct()
            self.connection.close()

    def response(self) -> tuple[str, Response]:
        lease, connection, upstream = self.lease, self.connection, self.upstream
        origin = lease.instance.address.origin
        if connection is None:
            return origin, partial(upstream.send_to, lease)
        connection.resume()
        connection.parse(self._received)
        return origin, partial(upstream.await_response, lease, connection)

    def pause(self) -> None:
        self._is_paused = True
        if self.connection is not None:
            self.connection.pause()

    def resume(self) -> None:
        self._is_paused = False
        if self.connection is not None:
            self.connection.resume()

    # The service's connection

    def data_received(self, data: bytes) -> None:
        if self.left >= 0:
            self._continue(data)
            return
        received = self._received = self._received + data if self._received else data
        shape = self.known.route.shape
        read = None if shape is None else shape.read(received)
        if read is None:
            self._begin(received)
        else:
            answer, end = read
            self._write_body(self.begin(answer), received[end:])

    def _continue(self, data: bytes) -> None:
        self.progress()
        if self._chunks is None:
            self._write_body(b"", data)
        else:
            self._write_chunk(b"", data, self._chunks)

    def connection_lost(self) -> None:
        if self.left < 0:
            self.hand_over()
            return
        self.lease.record_failure()
        self.break_off(Outcome.BROKEN)

    def _begin(self, received: bytes) -> None:
        end = received.find(HEAD_END)
        answer = read_head(received, end) if end >= 0 else None
        if answer is not None and answer.length == CHUNKED:
            self._chunks = ChunkReader()
            self._write_chunk(self.begin(answer), received, self._chunks)
        elif answer is not None:
            self._write_body(self.begin(answer), received[end + len(HEAD_END) :])
        elif end >= 0 or len(received) > MAX_HEAD:
            self.hand_over()

    def _write_body(self, head: bytes, data: bytes) -> None:
        if len(data) > self.left:
            data = data[: self.left]
            self._is_reusable = False
        self.left -= len(data)
        self.client.transport.write(head + data)
        if not self.left:
            self._complete()

    def _write_chunk(self, head: bytes, data: bytes, chunks: ChunkReader) -> None:
        try:
            chunk = chunk_of(chunks.read(data))
        except httptools.HttpParserError:
            self.abandon_broken(head)
            return
        last = LAST_CHUNK if chunks.is_complete else b""
        if head or chunk or last:
            self.client.transport.write(b"%b%b%b" % (head, chunk, last))
        if chunks.is_complete:
            self._is_reusable = not chunks.is_followed
            self._complete()

    def abandon_broken(self, head: bytes) -> None:
        """Abort after bytes that are not a valid response. The client receives an incomplete response."""
        if head:
            self.client.transport.write(head)
        self.lease.record_failure()
        self.abandon()
        self.break_off(Outcome.BROKEN)

    def _complete(self) -> None:
        connection = self.connection
        if connection is not None:
            connection.finish_direct()
            if self._is_paused:
                connection.resume()  # the client is still reading earlier data
            if self._is_reusable and connection.is_open:
                self.upstream.connections.put_back(self.lease.instance.address, connection)
            else:
                connection.close()
        self.lease.record_success()
        self.complete()


class LocalForwarding(Exchange):
    """A request to a service in this process. Its application writes to the client's connection."""

    __slots__ = ("_held", "_is_chunked", "_response", "_upstream")

    def start(self) -> None:
        self._held = b""
        self._is_chunked = False
        plain, upstream = self.request, self.known.route.upstream
        if not isinstance(upstream, LocalUpstream):
            raise TypeError("the service is not in this process")
        self._upstream = upstream
        headers = [*plain.id_headers, *self.known.passing]
        line = plain.line
        request = UpstreamRequest(line[2].decode(), line[3], line[4] or b"", headers, self.known.decision.timeout)
        self._response = DirectResponse(upstream.service, request, self)
        upstream.start(self._response, request)

    def abandon(self) -> None:
        self._response.detach()
        self._response.disconnect()

    def response(self) -> tuple[str, Response]:
        upstream, response = self._upstream, self._response
        response.detach()
        return upstream.service, partial(upstream.await_response, response)

    def pause(self) -> None:
        """Do nothing: the application waits in `drain`."""

    def resume(self) -> None:
        """Do nothing: `drain` ends by itself."""

    # The application

    def begin_response(self, status: int, headers: Any) -> bool:
        """Begin the response. Return whether it is plain. Otherwise the ASGI plane reads it."""
        answer = head_of(status, headers)
        if answer is None:
            self.hand_over()
            return False
        self._is_chunked = answer.length == CHUNKED
        self._held = self.begin(answer)
        self.plane.loop.call_soon(self._flush)  # the body usually follows at once and fits in the same segment
        return True

    def write(self, body: bytes, *, more: bool) -> None:
        """Write a part of the body."""
        held, self._held = self._held, b""
        if self._is_chunked:
            self._pass_on(held + chunk_of(body) + (b"" if more else LAST_CHUNK), more=more)
            return
        if len(body) > self.left or (not more and len(body) < self.left):
            if self.status not in BODILESS:
                self._flush()
                self.ended_early()
                return
            body = b""
        self.left -= len(body)
        self._pass_on(held + body, more=more)

    def _pass_on(self, data: bytes, *, more: bool) -> None:
        if data:
            self.client.transport.write(data)
        if not more:
            self._response.detach()
            self.complete()
        else:
            self.progress()

    async def drain(self) -> None:
        """Wait until the client has read enough data."""
        await self.client.flow.drain()

    def ended_early(self) -> None:
        """Handle an application that has returned or failed before its response was complete."""
        self.abandon()
        self.break_off(Outcome.BROKEN)

    def _flush(self) -> None:
        held, self._held = self._held, b""
        if held and not self.client.transport.is_closing():
            self.client.transport.write(held)


class DirectResponse(LocalResponse):
    """A response that is written to the client's connection until it is detached. Then the ASGI plane reads it."""

    def __init__(self, service: str, request: UpstreamRequest, exchange: LocalForwarding) -> None:
        super().__init__(service, request)
        self._exchange: LocalForwarding | None = exchange

    def detach(self) -> None:
        """Stop writing to the client's connection."""
        self._exchange = None

    def end_early(self) -> None:
        if self._exchange is not None:
            self._exchange.ended_early()
        super().end_early()

    async def _send(self, message: Message) -> None:
        exchange = self._exchange
        if exchange is None:
            await super()._send(message)
        elif message["type"] == "http.response.start" and not self._begun.done():
            if exchange.begin_response(message["status"], message.get("headers", ())):
                self._begun.set_result(None)
            else:
                await super()._send(message)
        elif message["type"] == "http.response.body" and self._begun.done() and not self._complete:
            more = message.get("more_body", False)
            if not more:
                self.end_body()
                self.disconnect()
            exchange.write(message.get("body", b""), more=more)
            if more:
                await exchange.drain()

    def _begin(self, status: int, headers: Any) -> None:
        if self._exchange is not None:  # the application has failed before it began a response
            self._exchange.hand_over()
        super()._begin(status, headers)
