"""What a log line says of the request that it was written in."""

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RequestContext:
    """Which request is being served.

    Args:
        service: whose; several share a process.
        request_id: `X-Request-ID`.
        trace_id: of W3C traceparent, 32 hexadecimal digits.
    """

    service: str
    request_id: str | None = None
    trace_id: str | None = None


request_context: ContextVar[RequestContext | None] = ContextVar("portico_request", default=None)
"""The request that the current task serves; set by the HTTP frame and by whatever else does a service's work."""
