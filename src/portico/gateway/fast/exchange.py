"""One request that the fast plane forwards, until it has ended or the ASGI plane takes over."""

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from portico.gateway.access_log import AccessRecord, Outcome
from portico.gateway.fast.answer import STATUS_LINES, ResponseHead
from portico.gateway.fast.memo import KnownFields, KnownRequest
from portico.gateway.proxy.http import FirstAttempt
from portico.gateway.proxy.request import CLIENT_GONE, ProxyRequest
from portico.gateway.request_head import Header
from portico.gateway.request_ids import RequestIds
from portico.gateway.upstreams.base import UpstreamRequest, UpstreamResponse
from portico.kit.telemetry.trace_context import TraceContext
from portico.kit.telemetry.traces import Span

if TYPE_CHECKING:
    from portico.gateway.fast.client import FastConnection

Response = Callable[[UpstreamRequest], Awaitable[UpstreamResponse]]


@dataclass(slots=True)
class PlainRequest:
    """A request that the fast plane forwards.

    Args:
        data: The request as it was received, for the ASGI plane.
        line: The match of REQUEST_LINE.
        fields: Its header fields, without the varying ones.
        passing: The varying header fields for the service.
        request_id: Its id.
        trace: Its `traceparent`.
        state: Its `tracestate`.
        rate: The encoded header fields of its rate limit.
        span: The gateway's span; None if no spans are recorded.
    """

    data: bytes
    line: re.Match[bytes]
    fields: KnownFields
    passing: Sequence[Header]
    request_id: bytes
    trace: bytes
    state: bytes | None
    rate: bytes
    span: Span | None

    @property
    def ids(self) -> RequestIds:
        """The identifiers, for the ASGI plane."""
        span = self.span
        if span is None:
            context = TraceContext.parse(self.trace.decode())
            if context is None:
                raise RuntimeError("a trace context was generated that is not valid")
            span = Span(context)
        return RequestIds(self.request_id.decode(), span, self.state)

    @property
    def id_headers(self) -> list[Header]:
        """The header fields with the identifiers, and the varying fields."""
        headers = [(b"x-request-id", self.request_id), (b"traceparent", self.trace)]
        if self.state is not None:
            headers.append((b"tracestate", self.state))
        return [*headers, *self.passing]


class Exchange(ABC):
    """One request in progress. It holds a slot, and is counted against its rate.

    Args:
        client: The client's connection.
        known: The cached decision for the request.
        request: The request.
    """

    __slots__ = ("began", "client", "deadline", "known", "left", "plane", "request", "status", "upstream_seconds")

    def __init__(self, client: "FastConnection", known: KnownRequest, request: PlainRequest) -> None:
        self.began = time.perf_counter()
        self.deadline = self.began + known.decision.timeout
        self.client = client
        self.plane = client.plane
        self.known = known
        self.request = request
        self.status = 0
        self.upstream_seconds = 0.0
        self.left = -1  # remaining bytes of the body; -1 until the response has begun

    @abstractmethod
    def start(self) -> None:
        """Send the request to the service."""

    @abstractmethod
    def abandon(self) -> None:
        """Tell the service that nothing reads its response."""

    @abstractmethod
    def response(self) -> tuple[str, Response]:
        """Hand the response to the ASGI plane. Return the tried instance, and a function that awaits the response."""

    @abstractmethod
    def pause(self) -> None:
        """Pause the service, because the client reads more slowly than it writes."""

    @abstractmethod
    def resume(self) -> None:
        """Let the service continue."""

    # Steps of the response

    def begin(self, answer: ResponseHead) -> bytes:
        """Begin the response. Return its head."""
        self.left = max(0, answer.length)
        self.status = answer.status
        self.upstream_seconds = time.perf_counter() - self.began
        known, client, request = self.known, self.client, self.request
        known.route.shape = answer.shape
        return b"%b%b%bx-request-id: %b\r\n%b%b%b" % (
            STATUS_LINES[answer.status],
            self.plane.encoded_once(client.server_state.default_headers),
            answer.fields,
            request.request_id,
            known.cors_bytes_varied if answer.varies_by_origin else known.cors_bytes,
            request.rate,
            b"connection: close\r\n\r\n" if client.is_ending else b"\r\n",
        )

    def progress(self) -> None:
        """Restart the time limit, because a part of the body was forwarded."""
        self.deadline = time.perf_counter() + self.known.decision.timeout

    def complete(self) -> None:
        """End the exchange after a complete response. The connection can serve the next request."""
        plane, route = self.plane, self.known.route
        plane.forwarded += 1
        route.budget.record_call()
        if self.request.span is None:
            status, counters = self.status, route.counters
            counter = counters[status] if status in counters else plane.counter(route, status)
            if counter is not None:
                plane.time_limits.busy.discard(self)
                plane.slots.release(self.known.holder)
                counter.add(time.perf_counter() - self.began, self.upstream_seconds)
                self.client.on_exchange_end(self)
                return
        self._end(Outcome.COMPLETE)
        self.client.on_exchange_end(self)

    def break_off(self, outcome: Outcome) -> None:
        """Abort a response that cannot be completed. The client's connection is closed, so that the client notices."""
        self._end(outcome)
        self.client.on_exchange_broken(self)

    def client_lost(self) -> None:
        """Handle a disconnect of the client."""
        self.abandon()
        self.status = self.status or CLIENT_GONE
        self._end(Outcome.CLIENT_GONE)

    def time_out(self) -> None:
        """Handle a time-out: the response, or the next part of its body, did not arrive in time."""
        if self.left < 0:
            self.hand_over()  # there, the time limit has expired too
        else:
            self.abandon()
            self.break_off(Outcome.STALLED)

    def hand_over(self, *, is_tried: bool = True) -> None:
        """Hand over to the ASGI plane. The request keeps its slot; the rate and the caller are not checked again."""
        first = FirstAttempt(self.began)
        if is_tried:
            instance, first.response = self.response()
            first.tried.add(instance)
        plain, known = self.request, self.known
        rate = [_pair(line) for line in plain.rate.split(b"\r\n")[:-1]]
        added = [(b"x-request-id", plain.request_id), *known.cors, *rate]
        ids = plain.ids
        head = self.client.head_of(plain.line, plain.fields)
        request = ProxyRequest(head, ids, self.access(), added, known.decision.route)
        decision = known.decision
        if plain.passing:
            decision = replace(decision, fields=decision.fields.with_forwarded(plain.passing))
        self.plane.time_limits.busy.discard(self)
        self.client.resume_asgi(self, request, decision, first)

    def access(self) -> AccessRecord:
        """Return the access record."""
        plain, decision, principal = self.request, self.known.decision, self.known.caller.principal
        trace_id = plain.trace[3:35].decode() if plain.span is None else plain.span.context.trace_id
        return AccessRecord(
            plain.line[2].decode(),
            plain.line[3].decode("ascii"),
            plain.request_id.decode(),
            trace_id,
            decision.client,
            decision.route.path,
            decision.route.service,
            None if principal is None else principal.subject,
            status=self.status,
            upstream_seconds=self.upstream_seconds,
            attempts=1,
        )

    def abandon_before_asgi(self) -> None:
        """End the exchange because the ASGI plane did not accept the request."""
        self.abandon()
        self._end(Outcome.CLIENT_GONE)

    def _end(self, outcome: Outcome) -> None:
        plane, known = self.plane, self.known
        plane.time_limits.busy.discard(self)
        plane.slots.release(known.holder)
        access = self.access()
        access.outcome = outcome.value
        plane.proxy.record(access, self.request.ids.span, self.began)


def _pair(line: bytes) -> Header:
    name, _, value = line.partition(b": ")
    return name, value
