"""Client connections of the fast plane."""

import asyncio
import contextvars
import re
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar, Final

from portico.gateway.decisions import Forward
from portico.gateway.fast.exchange import Exchange, PlainRequest
from portico.gateway.fast.memo import (
    MAX_HEAD,
    REQUEST_LINE,
    KnownFields,
    KnownRequest,
    VaryingFields,
    is_one_head,
    parse_fields,
    without_varying,
)
from portico.gateway.fast.plane import FastPlane
from portico.gateway.fast.upstream import HttpForwarding, LocalForwarding
from portico.gateway.proxy.http import FirstAttempt
from portico.gateway.proxy.request import ProxyRequest
from portico.gateway.request_head import MAX_FIELDS as MAX_ALL_FIELDS
from portico.gateway.request_head import Header, RequestHead, check_query
from portico.gateway.request_ids import SentIds
from portico.gateway.upstreams import HttpUpstream
from portico.kit.foundation.problems import Problem
from portico.kit.foundation.request_framing import HeadRejected
from portico.kit.runtime.uvicorn_protocols import LimitedConnection

NO_FIELDS: Final[Sequence[Header]] = ()
MAX_FIELDS = MAX_ALL_FIELDS - 3
"""Maximum number of fields in a cached head, without the varying fields."""


class FastConnection(LimitedConnection):
    """A client's connection: forwards plain requests itself, and is uvicorn's connection for all others.

    A request is plain if it arrives as one complete head, without body, on a connection with no other request in
    progress, and if the policy forwards it. The base class handles all other requests, with the ASGI plane as the
    application.

    Attributes:
        plane: The fast plane of the gateway.
    """

    __slots__ = (
        "_exchange",
        "_fields",
        "_peer",
        "_resumed",
        "_scheme",
        "_uses_asgi",
        "_waiting",
        "is_ending",
    )

    plane: ClassVar[FastPlane]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.is_ending = False  # whether the connection is closed after the current response
        self._exchange: Exchange | None = None
        self._fields: KnownFields | None = None
        self._uses_asgi = False
        self._resumed: Callable[..., Any] | None = None
        self._waiting = b""  # bytes that arrived after the request in progress
        self._peer = ""
        self._scheme = "http"

    # Connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._scheme = self.scheme or "http"

    def count_client(self) -> None:
        self._peer = self.client[0] if self.client else ""
        super().count_client()

    def connection_lost(self, exc: Exception | None) -> None:
        self.plane.time_limits.idle.pop(self, None)
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.client_lost()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.awaits_proxy_header:
            data = self.read_proxy_header(data)
            if not data:
                return
        if self._exchange is not None:
            self._waiting += data
            self.flow.pause_reading()
            return
        self.plane.time_limits.idle.pop(self, None)
        if not self._uses_asgi or self.is_at_rest:
            self._uses_asgi = False
            if self._forward(data):
                return
        self._uses_asgi = True
        super().data_received(data)
        if self.is_at_rest:  # only empty lines: the base class has no timer for them
            self.plane.time_limits.idle[self] = time.perf_counter()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._exchange is not None:
            self._exchange.pause()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._exchange is not None:
            self._exchange.resume()

    def shutdown(self) -> None:
        """Close the connection after the current response."""
        if self._exchange is None:
            super().shutdown()
        else:
            self.is_ending = True

    @property
    def idle_seconds(self) -> float:
        """How long (seconds) the connection may be idle."""
        return self.timeout_keep_alive

    def close_idle(self) -> None:
        """Close the connection because it was idle for too long."""
        self.transport.close()

    # Requests

    def _forward(self, data: bytes) -> bool:
        """Forward a request if it is plain. Return whether it was; otherwise nothing was changed or counted."""
        found = REQUEST_LINE.match(data)
        if found is None or (self.limit_concurrency is not None and self.is_full) or self.transport.is_closing():
            return False
        end = found.end()
        sent, varying = data[end:], None
        fields = self._fields
        if fields is None or sent != fields.sent:
            shared = self.plane.shared.find(self._peer, self._scheme, sent)
            if shared is None and (cut := without_varying(data[end - 1 :])) is not None:
                sent, varying = cut
                if fields is not None and sent == fields.sent:
                    shared = fields
                else:
                    shared = self.plane.shared.find(self._peer, self._scheme, sent)
            fields = self._fields = shared or self._read(data[:end] + sent, sent)
        known = None if fields is None or len(data) > MAX_HEAD else self._find(found, fields)
        if fields is None or known is None:
            return False
        if not self.plane.is_valid(known):
            fields.requests.clear()  # the next verification of the token is cached
            return False
        rate = self._take(known)
        if rate is None:
            return False
        self._start(known, self._plain(data, found, fields, varying, rate))
        return True

    def _take(self, known: KnownRequest) -> bytes | None:
        """Count a request, and take a slot. Return the header fields of its rate; None if it must be refused."""
        slots = self.plane.slots
        try:
            slots.take(known.holder)
        except Problem:
            return None
        rate = known.bucket.take_fields()
        if rate is None:
            slots.release(known.holder)
        return rate

    def _find(self, found: re.Match[bytes], fields: KnownFields) -> KnownRequest | None:
        """Return the cached decision for a request, or let the policy decide."""
        route = self.plane.paths.find(found[1])
        known = fields.requests.get(route)
        if known is None:
            known = self.plane.learn(fields, found[1], self.head_of(found, fields))
            if known is not None:
                self.plane.shared.add(self._peer, self._scheme, fields)
            return known
        if found[4]:
            try:
                check_query(found[3], found[4])
            except Problem:
                return None
        return known

    def _read(self, data: bytes, sent: bytes) -> KnownFields | None:
        """Check and parse a head like the base class. Return None if it is not one plain head."""
        if not is_one_head(data) or len(data) > MAX_HEAD:
            return None
        try:
            checked = self.check_head(data)
        except HeadRejected:
            return None
        headers = parse_fields(data)
        if headers is None or checked.head != data or checked.is_handshake or len(headers) > MAX_FIELDS:
            return None
        return KnownFields(sent, headers, SentIds.of(headers))

    def head_of(self, found: re.Match[bytes], fields: KnownFields) -> RequestHead:
        """Return the head of a request, without the varying fields."""
        return RequestHead(found[2].decode(), found[3], found[4] or b"", fields.headers, self._peer, self._scheme)

    def _plain(
        self, data: bytes, found: re.Match[bytes], fields: KnownFields, varying: VaryingFields | None, rate: bytes
    ) -> PlainRequest:
        request_id, trace, passing = fields.request_id, fields.trace, NO_FIELDS
        if varying is not None:
            request_id, trace = varying.request_id or request_id, varying.trace or trace
            passing = varying.passing
        plane, span = self.plane, None
        state = None if trace is None else fields.state
        if plane.records_spans:
            head = self.head_of(found, fields)
            span = plane.tracing.serve(
                method=head.method,
                path=head.path.decode("ascii", "replace"),
                scheme=head.scheme,
                traceparent=None if trace is None else trace.decode(),
                client=head.peer,
            )
            trace = str(span.context).encode()
        elif trace is None:
            trace = plane.next_trace()
        if request_id is None:
            request_id = plane.next_request_id()
        return PlainRequest(data, found, fields, passing, request_id, trace, state, rate, span)

    def _start(self, known: KnownRequest, plain: PlainRequest) -> None:
        kind = HttpForwarding if isinstance(known.route.upstream, HttpUpstream) else LocalForwarding
        exchange = kind(self, known, plain)
        if self.has_timers:
            self.stop_timers()
        self._exchange = exchange
        self.plane.time_limits.busy.add(exchange)
        exchange.start()
        if self.flow.write_paused and self._exchange is exchange:
            exchange.pause()

    # Reports of an exchange

    def on_exchange_end(self, exchange: Exchange) -> None:
        """Handle the end of a complete response."""
        if self._exchange is not exchange:
            return
        self._exchange = None
        if self.is_ending:
            self.transport.close()
            return
        waiting, self._waiting = self._waiting, b""
        if waiting:
            self.flow.resume_reading()
            contextvars.Context().run(self.data_received, waiting)
        else:
            self.plane.time_limits.idle[self] = time.perf_counter()

    def on_exchange_broken(self, exchange: Exchange) -> None:
        """Handle a response that cannot be completed."""
        if self._exchange is exchange:
            self._exchange = None
            self.transport.close()

    def resume_asgi(self, exchange: Exchange, request: ProxyRequest, decision: Forward, first: FirstAttempt) -> None:
        """Continue an exchange in the ASGI plane."""
        self._exchange = None
        self._uses_asgi = True
        self._resumed = partial(self.plane.proxy.resume, request, decision, first)
        # The context may be that of the service's request, which the gateway's task must not see.
        contextvars.Context().run(super().data_received, exchange.request.data)
        if self._resumed is not None:  # the base class did not accept the request
            self._resumed = None
            exchange.abandon_before_asgi()
        if self.is_ending:
            super().shutdown()
        waiting, self._waiting = self._waiting, b""
        if waiting:
            self.flow.resume_reading()
            contextvars.Context().run(super().data_received, waiting)

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        resumed, self._resumed = self._resumed, None
        super()._start_asgi_task(cycle, app if resumed is None else resumed)
