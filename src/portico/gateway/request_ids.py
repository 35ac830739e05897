"""Identifiers of a request: its request id and its trace (W3C Trace Context)."""

import re
import secrets
from collections.abc import Container
from dataclasses import dataclass

from portico.gateway.request_head import RequestHead
from portico.kit.telemetry.trace_context import TraceContext
from portico.kit.telemetry.traces import Span, Tracing

REQUEST_ID = re.compile(rb"[A-Za-z0-9._:\-]{1,128}")
MAX_TRACESTATE = 512


@dataclass(slots=True)
class RequestIds:
    """The request id, the gateway's span, and the `tracestate` of the trace."""

    request_id: str
    span: Span
    tracestate: bytes | None = None


def request_ids_of(head: RequestHead, tracing: Tracing, *, own: Container[str]) -> RequestIds:
    """Use the identifiers in the request if they are well formed, and generate the missing ones.

    The gateway's own pages, whose paths are in `own`, begin no trace: health checks and metrics are polled.
    """
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
    path = head.path.decode("ascii", "replace")
    span = tracing.serve(
        method=head.method,
        path=path,
        scheme=head.scheme,
        traceparent=traceparent,
        client=head.peer,
        polled=path in own,
    )
    return RequestIds(request_id.decode(), span, tracestate)
