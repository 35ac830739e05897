"""What ties a request to others: its id, and its place in a trace (W3C Trace Context)."""

import re
import secrets
from dataclasses import dataclass

from portico.gateway.request_head import RequestHead
from portico.kit.telemetry.trace_context import TraceContext
from portico.kit.telemetry.traces import Span, Tracing

REQUEST_ID = re.compile(rb"[A-Za-z0-9._:\-]{1,128}")
MAX_TRACESTATE = 512


@dataclass(slots=True)
class RequestIds:
    """A request's id, the span that its work here is, and what vendors add to its trace."""

    request_id: str
    span: Span
    tracestate: bytes | None = None


def request_ids_of(head: RequestHead, tracing: Tracing) -> RequestIds:
    """Take up what the request says, where it is well formed, and make the rest."""
    request_id = traceparent = tracestate = None
    for name, value in head.headers:
        if name == b"x-request-id":
            request_id = value
        elif name == b"traceparent":
            traceparent = value.decode("latin-1")
        elif name == b"tracestate":
            tracestate = value
    if request_id is None or REQUEST_ID.fullmatch(request_id) is None:
        request_id = secrets.token_hex(8).encode()
    if tracestate is not None and (len(tracestate) > MAX_TRACESTATE or TraceContext.parse(traceparent) is None):
        tracestate = None
    span = tracing.serve(
        method=head.method,
        path=head.path.decode("ascii", "replace"),
        scheme=head.scheme,
        traceparent=traceparent,
        client=head.peer,
    )
    return RequestIds(request_id.decode(), span, tracestate)
