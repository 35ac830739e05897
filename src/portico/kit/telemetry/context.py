"""What a log line says of the request that it was written in."""

from contextvars import ContextVar
from dataclasses import dataclass

from portico.kit.telemetry.trace_context import TraceContext


@dataclass(frozen=True, slots=True)
class RequestContext:
    """Which request is being served.

    Args:
        service: whose; several share a process.
        request_id: `X-Request-ID`.
        trace: where in which trace: what is the parent of what this work leads to.
    """

    service: str
    request_id: str | None = None
    trace: TraceContext | None = None

    @property
    def trace_id(self) -> str | None:
        """Of W3C traceparent, 32 hexadecimal digits."""
        return None if self.trace is None else self.trace.trace_id


request_context: ContextVar[RequestContext | None] = ContextVar("portico_request", default=None)
"""The request that the current task serves; set by the HTTP frame and by whatever else does a service's work."""


def current_trace() -> str | None:
    """The `traceparent` of what the current task does, for what is to be done later and belongs to the same trace."""
    context = request_context.get()
    return None if context is None or context.trace is None else str(context.trace)
