"""Private APIs of uvicorn, written for uvicorn 0.54: its protocol for HTTP, which the kit's connections extend.

uvicorn sets no limits before a request reaches its app. With its own protocol, one header field of any length fills the memory,
a long target costs the square of its length while every other request waits, and a head that never ends holds its connection
forever. There is no public way to set such limits.

Nor does it check what its parser accepts: other protocols than HTTP/1.1, trailer fields that become header fields, an upgrade
that hides the body of its request. It drops the responses of pipelined requests if a later one is malformed.
"""

import asyncio
from abc import abstractmethod
from asyncio.events import TimerHandle
from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar, Final, cast

import httptools

from portico.kit._compat import Library, require
from portico.kit.foundation.request_framing import HEAD_END, HeadFault, HeadRejected, RequestBytes, RequestReader

with Library("uvicorn", "0.54").shape():
    from uvicorn._types import ASGI3Application
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

    require(HttpToolsProtocol, "connection_made", "connection_lost", "data_received", "shutdown")
    require(HttpToolsProtocol, "on_message_begin", "on_header", "on_headers_complete", "on_body", "on_message_complete")
    require(HttpToolsProtocol, "on_response_complete", "_start_asgi_task", "_unset_keepalive_if_required")
    require(HttpToolsProtocol, "loop", "transport", "parser", "cycle", "pipeline", "headers", "expect_100_continue")
    require(HttpToolsProtocol, "config", "server_state", "app_state", "connections", "ws_protocol_class")
    require(HttpToolsProtocol, "flow", "tasks", "limit_concurrency")
    require(HttpToolsProtocol, "timeout_keep_alive", "timeout_keep_alive_task", "timeout_keep_alive_handler")
    require(
        RequestResponseCycle, "response_started", "response_complete", "disconnected", "message_event", "keep_alive"
    )
    require(RequestResponseCycle, "waiting_for_100_continue", "more_body", "run_asgi")

__all__ = [
    "HEAD_SECONDS",
    "LimitedHttpProtocol",
]

MAX_HEAD: Final = 65_536
HEAD_SECONDS: Final = 10.0
LINGER_SECONDS: Final = 2.0
"""How long (seconds) a connection stays half open after a rejection, so that data under way does not destroy it."""


class LimitedHttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol for HTTP/1.1 with limits, and with checks of each head before it is parsed.

    The parser gets one head or one body at a time. A head is checked as bytes, because the parser does not pass on
    everything that it accepts.

    Attributes:
        max_head: Bytes that may come in a row without being part of a body: a head, chunk extensions, trailers.
        head_seconds: Seconds within which a head must be complete.
    """

    # With slots, the attributes of uvicorn's class are few enough that all connections share the table of their names.
    __slots__ = (
        "_has_no_body",
        "_head_timer",
        "_is_head_checked",
        "_last",
        "_reader",
        "_receiving",
        "_running",
    )

    max_head: ClassVar[int] = MAX_HEAD
    head_seconds: ClassVar[float] = HEAD_SECONDS

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._reader = RequestReader(self, self.max_head)
        self._is_head_checked = False
        self._has_no_body = False  # the response to the head that was read last
        self._receiving: RequestResponseCycle | None = None  # the request whose body is incomplete
        self._running: RequestResponseCycle | None = None  # the request whose app runs
        self._last: Callable[[], None] | None = None  # what to do after the responses that are due
        self._head_timer: TimerHandle | None = None

    @abstractmethod
    def rejection(self, rejected: HeadRejected) -> bytes:
        """Return the whole response to a request that is rejected before its app sees it."""

    @abstractmethod
    def check_request_line(self, line: bytes) -> None:
        """Check a request line, with its line end. Raises HeadRejected."""

    @abstractmethod
    def check_head(self, head: bytes) -> RequestBytes:
        """Check a complete head. Raises HeadRejected."""

    # Connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._start_timer(self._time_out)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._disconnect(self._running)  # uvicorn informs only the request that came last
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
        except HeadRejected as rejected:
            self._reject(rejected)
        else:
            self._set_timers()

    def receive_head(self, head: bytes, *, is_last: bool) -> None:
        """Check a complete head and parse it, or switch to a WebSocket. Raises HeadRejected."""
        self._has_no_body = head.startswith(b"HEAD ")
        checked = self.check_head(head)
        if checked.is_handshake:
            if not is_last:
                raise HeadRejected(HeadFault.MALFORMED, "data follows the WebSocket handshake before it is accepted")
            self._end_with(lambda: self._switch_to_websocket(checked.head))
            return
        if self._reader.follows_chunks:  # trailer fields have changed the state of the parser
            self.parser = httptools.HttpRequestParser(self)
        self._is_head_checked = True
        self.receive_body(checked.head)

    def receive_body(self, data: bytes | memoryview) -> None:
        """Parse a part of a body, or a head. Raises HeadRejected."""
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            raise HeadRejected(HeadFault.MALFORMED) from error

    @property
    def is_at_rest(self) -> bool:
        """Whether the next data begins a request: nothing is due to the client, and no part of a request was received."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        reader = self._reader
        return (
            self._running is None
            and self._receiving is None
            and self._last is None
            and (cycle is None or cycle.response_complete)
            and not self.pipeline
            and reader.in_head
            and not reader.has_partial_head
            and not reader.is_stopped
            and not self.transport.is_closing()
        )

    @property
    def is_full(self) -> bool:
        """Whether the server has so many connections or requests that it refuses further requests."""
        limit = self.limit_concurrency
        return limit is not None and (len(self.connections) >= limit or len(self.tasks) >= limit)

    @property
    def has_timers(self) -> bool:
        """Whether a timer of the connection runs."""
        return self._head_timer is not None or self.timeout_keep_alive_task is not None

    def stop_timers(self) -> None:
        """Stop the timers of a connection at rest. The caller limits the time until the next request itself."""
        self._stop_timer()
        self._unset_keepalive_if_required()

    def detach(self) -> Callable[[asyncio.Transport], None] | None:
        """Give the connection away: another protocol takes it. Return what to call when it is closed, if anything."""
        self._stop_timer()
        self._running = None
        del self._reader  # breaks a ring of references
        return None

    # Parser

    def on_message_begin(self) -> None:
        if not self._is_head_checked:
            raise HeadRejected(HeadFault.MALFORMED)
        self._is_head_checked = False
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._reader.in_head:  # trailer fields do not become header fields (RFC 9110 section 6.5.1)
            super().on_header(name, value.rstrip(b" \t"))

    def on_headers_complete(self) -> None:
        self._reader.begin_body(next((int(value) for name, value in self.headers if name == b"content-length"), None))
        if self.parser.get_http_version() == "1.0":
            self.expect_100_continue = False  # RFC 9110 section 10.1.1
        super().on_headers_complete()
        self._receiving = self.cycle

    def on_body(self, body: bytes) -> None:
        self._reader.note_data()
        self.cycle.waiting_for_100_continue = False  # the client does not wait
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._reader.end_message()
        self._receiving = None
        self.cycle.waiting_for_100_continue = False
        if not self.cycle.keep_alive:
            self._reader.stop()  # what follows is no request (RFC 9112 section 9.6)

    # Responses

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        self._stop_timer()
        self._unset_keepalive_if_required()
        super()._start_asgi_task(
            cycle, _closing_unless_continued(app, cycle) if cycle.waiting_for_100_continue else app
        )

    def on_response_complete(self) -> None:
        self._running = None
        super().on_response_complete()
        if self.transport.is_closing() or self._running is not None:
            return
        if self._last is not None:
            self._unset_keepalive_if_required()
            self._last()
        elif self._receiving is not None:
            self._unset_keepalive_if_required()
            self._start_timer(self.transport.close)  # the client must send the rest of the body in time
        elif self._reader.has_partial_head:
            self._unset_keepalive_if_required()
            self._start_timer(self._time_out)

    def _end_with(self, action: Callable[[], None]) -> None:
        """Read no further request, and do this after the responses that are due."""
        self._reader.stop()
        self._stop_timer()
        self._unset_keepalive_if_required()
        if self._running is None:
            action()
        else:
            self._last = action

    def _reject(self, rejected: HeadRejected) -> None:
        """Respond and close: where the next request begins is not known. Responses that are due come first."""
        broken, self._receiving = self._receiving, None
        if broken is not None and (broken.response_started or broken.response_complete):
            self._reader.stop()
            self._disconnect(broken)
            self.transport.close()
            return
        if broken is self._running:
            self._disconnect(broken)
            self._running = None
        self.pipeline = deque(each for each in self.pipeline if each[0] is not broken)
        self._end_with(lambda: self._send_last(self.rejection(rejected)))

    def _send_last(self, response: bytes) -> None:
        """Send a response and close the connection for writing; data that is under way is discarded."""
        self.transport.write(response[: response.index(HEAD_END) + len(HEAD_END)] if self._has_no_body else response)
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self._head_timer = self.loop.call_later(LINGER_SECONDS, self.transport.close)
        else:
            self.transport.close()

    def _switch_to_websocket(self, handshake: bytes) -> None:
        self.connections.discard(self)
        protocol = cast("Any", self.ws_protocol_class)(
            config=self.config, server_state=self.server_state, app_state=self.app_state
        )
        protocol.connection_made(self.transport)
        protocol.client = self.client  # which a proxy may have named
        protocol.data_received(handshake)
        self.transport.set_protocol(protocol)

    @staticmethod
    def _disconnect(cycle: RequestResponseCycle | None) -> None:
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()

    # Timers

    def _set_timers(self) -> None:
        """Limit the time of a head that has begun. An idle connection has uvicorn's own timer.

        While a response is due, no timer runs: reading may be paused.
        """
        if self._running is not None or self._reader.is_stopped:
            return
        if self._reader.has_partial_head:
            self._unset_keepalive_if_required()
            self._start_timer(self._time_out)
        elif not self._reader.in_head:
            self._unset_keepalive_if_required()
        elif cast("RequestResponseCycle | None", self.cycle) is not None:  # None before the first request
            self._stop_timer()
            self._keep_idle_short()

    def _start_timer(self, action: Callable[[], None]) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_seconds, action)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _time_out(self) -> None:
        self._head_timer = None
        self._reject(HeadRejected(HeadFault.TOO_SLOW))

    def _keep_idle_short(self) -> None:
        """Start uvicorn's timer of an idle connection, unless it runs."""
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )


def _closing_unless_continued(app: ASGI3Application, cycle: RequestResponseCycle) -> ASGI3Application:
    """Return the app of a request whose client waits for `100 Continue` before it sends the body.

    If the app responds without reading the body, the connection is closed: whether the body still comes is not known
    (RFC 9110 section 10.1.1).
    """

    async def run(scope: Any, receive: Any, send: Any) -> None:
        async def send_final(message: Any) -> None:
            if message["type"] == "http.response.start" and cycle.waiting_for_100_continue:
                cycle.keep_alive = False
            await send(message)

        await app(scope, receive, send_final)

    return run
