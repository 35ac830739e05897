"""Spans of requests, calls, events and saga steps. Without a recorder they cost almost nothing."""

import random
from collections.abc import Sequence
from typing import Literal, Protocol

from portico.kit.telemetry.trace_context import TraceContext

SpanKind = Literal["server", "client", "consumer", "internal"]
AttributeValue = str | int | float | bool


class Span:
    """One operation within a trace. This base class records nothing and only propagates its context."""

    __slots__ = ("context",)

    def __init__(self, context: TraceContext) -> None:
        self.context = context

    def set(self, attributes: dict[str, AttributeValue]) -> None:
        """Add attributes to the span."""

    def end(self, *, route: str | None = None, status: int | None = None, error: str | None = None) -> None:
        """End the span. Call this exactly once.

        Args:
            route: the path's template, which becomes part of the span's name.
            status: the HTTP status of the response.
            error: the error's type, if there was no response.
        """


class Recorder(Protocol):
    """Starts recorded spans and exports them."""

    def start(
        self,
        kind: SpanKind,
        name: str,
        parent: TraceContext | None,
        attributes: dict[str, AttributeValue],
        links: Sequence[TraceContext] = (),
    ) -> Span: ...

    async def aclose(self) -> None: ...


class Tracing:
    """Decides which traces are recorded, and starts their spans.

    Args:
        recorder: records the sampled spans; None turns recording off.
        ratio: the share of new traces to record, 0 to 1. A caller's sampling decision takes precedence.
    """

    def __init__(self, recorder: Recorder | None = None, *, ratio: float = 1.0) -> None:
        self._recorder = recorder
        self._ratio = ratio

    @classmethod
    def off(cls) -> "Tracing":
        """Return tracing that records nothing but still propagates contexts between services."""
        return cls()

    @property
    def is_recording(self) -> bool:
        """Whether spans may be recorded."""
        return self._recorder is not None

    def serve(
        self,
        *,
        method: str,
        path: str,
        scheme: str = "http",
        traceparent: str | None = None,
        client: str | None = None,
        polled: bool = False,
        links: Sequence[TraceContext] = (),
    ) -> Span:
        """Start the span of an incoming request (OpenTelemetry semantic conventions for HTTP servers, 1.23+).

        Args:
            method: the request's method.
            path: the request's path.
            scheme: http or https.
            traceparent: the caller's trace, if any.
            client: the caller's address.
            polled: whether programs poll this path, as they poll health checks. It begins no trace of its own.
            links: spans of other traces that belong to this request.
        """
        parent = TraceContext.parse(traceparent)
        if self._recorder is None or not self._is_sampled(parent) or (polled and parent is None):
            # Pass the caller's context on unchanged: an unrecorded span would be a missing parent to later ones.
            return Span(parent or TraceContext.new())
        attributes: dict[str, AttributeValue] = {"http.request.method": method, "url.path": path, "url.scheme": scheme}
        if client is not None:
            attributes["client.address"] = client
        return self._recorder.start("server", method, parent, attributes, links)

    def call(
        self, parent: TraceContext, *, service: str, method: str, path: str, links: Sequence[TraceContext] = ()
    ) -> Span:
        """Start the span of a call to another service. Send `str(span.context)` as its `traceparent`.

        Args:
            parent: the caller's span.
            service: the called service.
            method: the request's method.
            path: the request's path.
            links: the spans of further calls that the request contains.
        """
        if self._recorder is None or not parent.sampled:
            return Span(parent)
        attributes: dict[str, AttributeValue] = {
            "http.request.method": method,
            "url.path": path,
            "peer.service": service,
            "server.address": service,
        }
        return self._recorder.start("client", f"{method} {service}", parent, attributes, links)

    def begin(
        self,
        name: str,
        *,
        kind: SpanKind = "internal",
        parent: TraceContext | None = None,
        attributes: dict[str, AttributeValue] | None = None,
        links: Sequence[TraceContext] = (),
    ) -> Span:
        """Start the span of work outside a request: the handling of an event or a saga step.

        Work that is done for several traces at once has no parent, and `links` to a span of each. It is recorded if one of
        them is.
        """
        is_sampled = any(link.sampled for link in links) if links else self._is_sampled(parent)
        if self._recorder is None or not is_sampled:
            return Span(parent or TraceContext.new())
        return self._recorder.start(kind, name, parent, attributes or {}, links)

    def _is_sampled(self, parent: TraceContext | None) -> bool:
        return parent.sampled if parent else random.random() < self._ratio  # noqa: S311  # not security-relevant

    async def aclose(self) -> None:
        """Export the remaining spans within a few seconds."""
        if self._recorder is not None:
            await self._recorder.aclose()
