"""Context of log lines: the request being served."""

from contextvars import ContextVar
from dataclasses import dataclass

from portico.kit.telemetry.trace_context import TraceContext


@dataclass(frozen=True, slots=True)
class RequestContext:
    """The request that a task serves.

    Args:
        service: name of the service; several can share a process.
        request_id: value of `X-Request-ID`.
        trace: trace context, the parent of spans that this work starts.
    """

    service: str
    request_id: str | None = None
    trace: TraceContext | None = None

    @property
    def trace_id(self) -> str | None:
        """The trace id (W3C traceparent, 32 hexadecimal digits)."""
        return None if self.trace is None else self.trace.trace_id


request_context: ContextVar[RequestContext | None] = ContextVar("portico_request", default=None)
"""The request that the current task serves. The HTTP middleware sets it, and all other work of a service."""


def current_trace() -> str | None:
    """Return the `traceparent` of the current task, for later work that belongs to the same trace."""
    context = request_context.get()
    return None if context is None or context.trace is None else str(context.trace)
