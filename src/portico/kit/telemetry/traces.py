"""Traces: W3C trace context in and out, and spans for whoever collects them; next to nothing where nobody does."""

import random
import re
from dataclasses import dataclass
from typing import Literal, Protocol

Kind = Literal["server", "client", "consumer", "internal"]
AttributeValue = str | int | float | bool

# Version 00 exactly; of later versions what 00 knows, RFC W3C Trace Context 1, section 3.2.4.
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_LONGEST = 256


@dataclass(frozen=True, slots=True)
class TraceContext:
    """Where in which trace we are (W3C Trace Context, level 1).

    Args:
        trace_id: 32 hexadecimal digits.
        span_id: 16 hexadecimal digits: the span that is the parent of what comes next.
        sampled: whether the trace is recorded.
    """

    trace_id: str
    span_id: str
    sampled: bool = False

    @classmethod
    def parse(cls, header: str | None) -> "TraceContext | None":
        """What a `traceparent` header says; None where there is none or it says nothing valid."""
        if header is None or len(header) > _LONGEST:
            return None
        found = _TRACEPARENT.fullmatch(header)
        if found is None or (found[1] == "00" and found[5] is not None):
            return None
        return cls(found[2], found[3], bool(int(found[4], 16) & 1))

    @classmethod
    def new(cls) -> "TraceContext":
        """The root of a new trace that nobody records."""
        return cls(_identifier(128, 32), _identifier(64, 16))

    def __str__(self) -> str:
        """The `traceparent` header."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"


def _identifier(bits: int, digits: int) -> str:
    # Identifiers only have to be unlikely to meet; zero is the one that means none.
    return f"{random.getrandbits(bits) or 1:0{digits}x}"


class Span:
    """A piece of work within a trace. This one is recorded nowhere; what it does is carry its context on."""

    __slots__ = ("context",)

    def __init__(self, context: TraceContext) -> None:
        self.context = context

    def set(self, attributes: dict[str, AttributeValue]) -> None:
        """Add what became known on the way."""

    def end(self, *, route: str | None = None, status: int | None = None, error: str | None = None) -> None:
        """Finish the span. Call it once, on every way out.

        Args:
            route: the path's template, for the span's name.
            status: of the HTTP answer.
            error: the type of what went wrong where there was no answer.
        """


class Recorder(Protocol):
    """Makes spans that are recorded, and sends them off."""

    def start(
        self, kind: Kind, name: str, parent: TraceContext | None, attributes: dict[str, AttributeValue]
    ) -> Span: ...

    async def aclose(self) -> None: ...


class Tracing:
    """Decides which traces are recorded, and begins their spans.

    Args:
        recorder: of the recorded ones; None where nobody collects traces.
        ratio: the share of new traces to record, 0 to 1. What a caller decided is followed.
    """

    def __init__(self, recorder: Recorder | None = None, *, ratio: float = 1.0) -> None:
        self._recorder = recorder
        self._ratio = ratio

    @classmethod
    def off(cls) -> "Tracing":
        """No tracing; contexts still travel, so that those who do trace see one trace."""
        return cls()

    @classmethod
    def to_otlp(cls, endpoint: str, *, service: str, version: str, ratio: float = 1.0) -> "Tracing":
        """Send spans to an OpenTelemetry collector.

        Args:
            endpoint: of OTLP over HTTP (`http://localhost:4318`).
            service: the name under which its spans are shown.
            version: of what runs.
            ratio: the share of new traces to record.

        Raises:
            SettingsError: `portico[otlp]` is not installed.
        """
        from portico.kit.telemetry.otlp import OtlpRecorder

        return cls(OtlpRecorder(endpoint, service=service, version=version), ratio=ratio)

    def serve(
        self, *, method: str, path: str, scheme: str = "http", traceparent: str | None = None, client: str | None = None
    ) -> Span:
        """The span of a request that came in, with OpenTelemetry's names for what it says (HTTP server, 1.23+)."""
        parent = TraceContext.parse(traceparent)
        if self._recorder is None:
            # The caller's context as it came: a span that nobody records would be a missing parent to those after it.
            return Span(parent or TraceContext.new())
        sampled = parent.sampled if parent else random.random() < self._ratio  # noqa: S311 chance, not secrecy
        if not sampled:
            return Span(parent or TraceContext.new())
        attributes: dict[str, AttributeValue] = {"http.request.method": method, "url.path": path, "url.scheme": scheme}
        if client is not None:
            attributes["client.address"] = client
        return self._recorder.start("server", method, parent, attributes)

    def call(self, parent: TraceContext, *, service: str, method: str, path: str) -> Span:
        """The span of a call to another service. Send `str(span.context)` as its `traceparent`."""
        if self._recorder is None or not parent.sampled:
            return Span(parent)
        attributes: dict[str, AttributeValue] = {
            "http.request.method": method,
            "url.path": path,
            "peer.service": service,
            "server.address": service,
        }
        return self._recorder.start("client", f"{method} {service}", parent, attributes)

    def begin(
        self,
        name: str,
        *,
        kind: Kind = "internal",
        parent: TraceContext | None = None,
        attributes: dict[str, AttributeValue] | None = None,
    ) -> Span:
        """The span of work that no request began: an event that is handled, a step of a saga."""
        if self._recorder is None:
            return Span(parent or TraceContext.new())
        sampled = parent.sampled if parent else random.random() < self._ratio  # noqa: S311 chance, not secrecy
        if not sampled:
            return Span(parent or TraceContext.new())
        return self._recorder.start(kind, name, parent, attributes or {})

    async def aclose(self) -> None:
        """Send what is left, for a few seconds at most."""
        if self._recorder is not None:
            await self._recorder.aclose()
