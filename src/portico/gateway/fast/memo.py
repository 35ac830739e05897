"""Memos of the policy's decisions, so that requests with the same bytes are not checked again.

Only decisions of the policy fill the memos: a request is found only if each of its bytes was part of a request that the
policy has forwarded. Two memos are combined: the header fields of a connection, and the path of any connection. This is
correct because the policy checks header fields and path separately, and only the resulting route connects them.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

import httptools

from portico.gateway.access_log import ResponseCounter
from portico.gateway.decisions import Caller, Forward, MatchedRequest
from portico.gateway.fast.answer import Shape
from portico.gateway.limits import Bucket
from portico.gateway.request_head import Header
from portico.gateway.request_ids import MAX_TRACESTATE, REQUEST_ID, SentIds
from portico.gateway.routes import Route
from portico.gateway.upstreams import HttpUpstream, LocalUpstream
from portico.kit.calls.retries import RetryBudget
from portico.kit.foundation.request_framing import HEAD_END
from portico.kit.telemetry.trace_context import TraceContext

REQUEST_LINE: Final = re.compile(rb"((GET|DELETE) (/[!$-;=@-Z_a-z~]*))(?:\?([!\"$-~]+))? HTTP/1\.1\r\n")
"""Request line in the fast plane. The path may contain percent-encoding; the policy decides about it."""

VARYING: Final = re.compile(rb"\n(x-request-id|traceparent|if-none-match):([ \t\x21-\x7e]*)\r(?=\n)", re.IGNORECASE)
"""Fields that clients change with each request, and that do not influence the policy."""
MAX_SHARED: Final = 64 << 20
"""Maximum memory (bytes, estimated) of header fields that connections share."""
MAX_SHARED_HEAD: Final = 2048
"""Maximum size (bytes) of header fields that connections share."""
MAX_PATHS: Final = 8192
MAX_PATH: Final = 256
"""Maximum size (bytes) of a cached path. The policy decides about each request with a longer one."""
MAX_HEAD: Final = 8192
"""Maximum size (bytes) of a cached head. The ASGI plane serves requests with a longer one."""
MAX_ROUTES: Final = 4
"""Maximum number of cached routes for the header fields of a connection."""
# The ASGI plane serves requests with these fields, whatever their values.
UNUSUAL: Final = (b"transfer-encoding", b"content-length", b"expect", b"upgrade")


class KnownRoute:
    """A route that the policy found for a path, and the objects that all requests to it use.

    It is compared by identity, which costs less than comparing routes.

    Args:
        route: The route.
        upstream: The service.
        budget: The retry budget of the service, to which each request adds.

    Attributes:
        counters: The counters of complete responses, by status.
        shape: The shape of the last response's head. The next response usually has the same fields.
    """

    __slots__ = ("budget", "counters", "route", "shape", "upstream")

    def __init__(self, route: Route, upstream: HttpUpstream | LocalUpstream, budget: RetryBudget) -> None:
        self.route = route
        self.upstream = upstream
        self.budget = budget
        self.counters: dict[int, ResponseCounter | None] = {}
        self.shape: Shape | None = None


class KnownPaths:
    """Methods and paths for which the policy found a route.

    Args:
        limit: Maximum number of paths. When it is exceeded, the cache is cleared.
    """

    def __init__(self, limit: int = MAX_PATHS) -> None:
        self._limit = limit
        self._paths: dict[bytes, KnownRoute] = {}
        self.find: Callable[[bytes], KnownRoute | None] = self._paths.get
        """Function that returns the route for a request line's method and path; None if the policy must find it."""

    def __len__(self) -> int:
        return len(self._paths)

    def add(self, path: bytes, route: KnownRoute) -> None:
        """Cache the route that the policy found."""
        if len(path) <= MAX_PATH:
            if len(self._paths) >= self._limit:
                self._paths.clear()
            self._paths[path] = route


@dataclass(slots=True)
class KnownRequest:
    """The cached decision for requests with the same header fields, on one connection, to one route.

    Args:
        route: The route.
        decision: The decision, if the caller's token is valid and the rate allows the request.
        fingerprint: The fingerprint of the caller's token; None if there is no token.
        caller: The caller that the token identifies.
        bucket: Counts the requests.
        holder: The client that holds the request's slot.
        passing: The header fields for the service, without the identifiers.
        passing_bytes: The same fields encoded, with the empty line.
        cors: The CORS header fields of the response.
        cors_bytes: The same fields encoded.
        cors_bytes_varied: The same without `Vary: Origin`, for responses that already have it.
        expires_at: When the caller's token expires, in seconds since the epoch.
        changes: The verifier's `changes` when the token was last looked up.
    """

    route: KnownRoute
    decision: Forward
    fingerprint: bytes | None
    caller: Caller
    bucket: Bucket
    holder: str
    passing: list[Header]
    passing_bytes: bytes
    cors: list[Header]
    cors_bytes: bytes
    cors_bytes_varied: bytes
    expires_at: float
    changes: object


@dataclass(slots=True)
class KnownFields:
    """Header fields of a connection.

    Args:
        sent: The bytes after the request line, without the fields of VARYING.
        headers: The parsed fields.
        ids: The identifiers in them.
        requests: The cached decisions for them, by route.
        request_id: The well-formed `X-Request-ID` in them.
        trace: The valid `traceparent` in them.
        state: The `tracestate` in them, which belongs to a `traceparent`.
    """

    sent: bytes
    headers: list[Header]
    ids: SentIds
    request_id: bytes | None = field(init=False)
    trace: bytes | None = field(init=False)
    state: bytes | None = field(init=False)
    requests: dict[KnownRoute | None, KnownRequest] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.request_id = None if self.ids.request_id is None else self.ids.request_id.encode()
        self.trace = _trace(self.ids.traceparent)
        states = [value for name, value in self.headers if name == b"tracestate" and len(value) <= MAX_TRACESTATE]
        self.state = states[-1] if states else None

    def add(self, request: KnownRequest) -> None:
        if len(self.requests) >= MAX_ROUTES:
            self.requests.clear()
        self.requests[request.route] = request


class SharedFields:
    """Header fields that the connections of a client's address share. The least recently used ones are dropped.

    Args:
        limit: Maximum memory (bytes, estimated).
    """

    COPIES: Final = 4  # of the bytes: as key, as parsed fields, and encoded for a service
    OBJECTS: Final = 2048  # bytes

    def __init__(self, limit: int = MAX_SHARED) -> None:
        self._limit = limit
        self._fields: OrderedDict[tuple[str, str, bytes], KnownFields] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return len(self._fields)

    def find(self, peer: str, scheme: str, sent: bytes) -> KnownFields | None:
        """Return the fields if a connection of this peer has sent the same bytes."""
        key = (peer, scheme, sent)
        found = self._fields.get(key)
        if found is not None:
            self._fields.move_to_end(key)
        return found

    def add(self, peer: str, scheme: str, fields: KnownFields) -> None:
        """Share the fields of a request that the policy has forwarded."""
        key = (peer, scheme, fields.sent)
        if len(fields.sent) > MAX_SHARED_HEAD or key in self._fields:
            return
        self._fields[key] = fields
        self._size += self._cost(fields.sent)
        while self._size > self._limit:
            (_, _, sent), _ = self._fields.popitem(last=False)
            self._size -= self._cost(sent)

    def _cost(self, sent: bytes) -> int:
        return len(sent) * self.COPIES + self.OBJECTS


@dataclass(slots=True)
class VaryingFields:
    """Fields of a request that differ from the previous request on its connection.

    Args:
        request_id: The well-formed `X-Request-ID`.
        trace: The valid `traceparent`.
        passing: Fields for the service.
    """

    request_id: bytes | None = None
    trace: bytes | None = None
    passing: list[Header] = field(default_factory=list)


def without_varying(sent: bytes) -> tuple[bytes, VaryingFields] | None:
    """Remove the fields of VARYING from the fields of a request.

    Args:
        sent: The fields, and before them the last byte of the request line.

    Returns:
        The other bytes and the removed fields; None if there are none, or if one occurs twice.
    """
    found = VARYING.findall(sent)
    names = {name.lower() for name, _ in found}
    if not found or len(names) != len(found):
        return None
    fields = VaryingFields()
    for name, spelled in found:
        value = spelled.strip(b" \t")
        match name.lower():
            case b"x-request-id":
                fields.request_id = value if REQUEST_ID.fullmatch(value) else None
            case b"traceparent":
                fields.trace = _trace(value.decode("ascii"))
            case lower:
                fields.passing.append((lower, value))
    return VARYING.sub(b"", sent)[1:], fields


def _trace(traceparent: str | None) -> bytes | None:
    context = TraceContext.parse(traceparent)
    return None if context is None else str(context).encode()


def is_plain(matched: MatchedRequest) -> bool:
    """Return whether a request has no body and no unusual connection options."""
    read = matched.fields.read
    connection = read.get(b"connection")
    return not any(name in read for name in UNUSUAL) and (connection is None or connection.lower() == b"keep-alive")


def parse_fields(head: bytes) -> list[Header] | None:
    """Parse a complete head like the server of the ASGI plane. Return None if it is not one complete request."""
    fields = _HeadReader()
    try:
        httptools.HttpRequestParser(fields).feed_data(head)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return None
    return fields.headers if fields.is_complete else None


def is_one_head(data: bytes) -> bool:
    """Return whether the bytes are exactly one head."""
    return data.endswith(HEAD_END) and data.find(HEAD_END) == len(data) - len(HEAD_END)


def encode_headers(headers: Iterable[Header]) -> bytes:
    """Return header fields encoded for HTTP/1.1."""
    return b"".join([b"%b: %b\r\n" % each for each in headers])


class _HeadReader:
    def __init__(self) -> None:
        self.headers: list[Header] = []
        self.is_complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value.rstrip(b" \t")))

    def on_message_complete(self) -> None:
        self.is_complete = True
