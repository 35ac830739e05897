"""Identifiers of a request: its request id and its trace (W3C Trace Context)."""

import random
import re
from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import Self

from portico.gateway.request_head import Header, RequestHead
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


@dataclass(frozen=True, slots=True)
class SentIds:
    """The well-formed identifiers in the header fields of a request."""

    request_id: str | None
    traceparent: str | None
    tracestate: bytes | None

    @classmethod
    def of(cls, headers: Iterable[Header]) -> Self:
        request_id = traceparent = tracestate = None
        for name, value in headers:
            if name == b"x-request-id":
                request_id = value
            elif name == b"traceparent":
                traceparent = value.decode("latin-1")
            elif name == b"tracestate":
                tracestate = value
        if request_id is not None and REQUEST_ID.fullmatch(request_id) is None:
            request_id = None
        if tracestate is not None and (len(tracestate) > MAX_TRACESTATE or TraceContext.parse(traceparent) is None):
            tracestate = None
        return cls(None if request_id is None else request_id.decode(), traceparent, tracestate)

    def complete(self, head: RequestHead, tracing: Tracing, *, polled: bool) -> RequestIds:
        """Use these identifiers, and generate the missing ones.

        Args:
            head: The request, whose header fields are not read again.
            tracing: Starts the span.
            polled: Whether programs poll the path.
        """
        span = tracing.serve(
            method=head.method,
            path=head.path.decode("ascii", "replace"),
            scheme=head.scheme,
            traceparent=self.traceparent,
            client=head.peer,
            polled=polled,
        )
        # A generated id must be distinct, not secret.
        return RequestIds(self.request_id or f"{random.getrandbits(64):016x}", span, self.tracestate)


def request_ids_of(head: RequestHead, tracing: Tracing, *, own: Container[str]) -> RequestIds:
    """Use the identifiers in the request if they are well formed, and generate the missing ones.

    The gateway's own pages, whose paths are in `own`, begin no trace: health checks and metrics are polled.
    """
    return SentIds.of(head.headers).complete(head, tracing, polled=head.path.decode("ascii", "replace") in own)
