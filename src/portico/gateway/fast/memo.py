"""What the policy found, remembered so that equal bytes need not be checked again.

Only the policy fills the memos: a request is found in them only if each of its bytes was part of a request that the policy
has forwarded. Two memos are combined: the header fields of a connection, and the path of any connection. This is possible
because the policy checks header fields and path separately, and only the route that it finds connects them.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import httptools

from portico.gateway.decisions import Caller, Forward, Matched
from portico.gateway.limits import Bucket
from portico.gateway.request_head import Header
from portico.gateway.request_ids import SentIds
from portico.gateway.routes import Route
from portico.gateway.upstreams import HttpUpstream, LocalUpstream
from portico.kit.foundation.request_framing import HEAD_END

REQUEST_LINE: Final = re.compile(rb"((GET|DELETE) (/[!$-;=@-Z_a-z~]*))(?:\?([!\"$-~]+))? HTTP/1\.1\r\n")
"""Requests of the fast plane. The path may contain percent-encoding; the policy decides about it."""

MAX_PATHS: Final = 8192
MAX_PATH: Final = 256
"""Bytes of a path that is remembered. The policy decides about each request with a longer one."""
MAX_HEAD: Final = 8192
"""Bytes of a head that is remembered. The ASGI plane serves requests with a longer one."""
MAX_ROUTES: Final = 4
"""Routes that are remembered for the header fields of a connection."""
# The fast plane leaves requests with these fields to the ASGI plane, whatever their values.
UNUSUAL: Final = (b"transfer-encoding", b"content-length", b"expect", b"upgrade")


class KnownRoute:
    """A route that the policy found for a path. It is compared by identity, which costs less than comparing routes."""

    __slots__ = ("route",)

    def __init__(self, route: Route) -> None:
        self.route = route


class KnownPaths:
    """Methods and paths for which the policy found a route.

    Args:
        limit: Maximum number of paths. When it is exceeded, all are forgotten.
    """

    def __init__(self, limit: int = MAX_PATHS) -> None:
        self._limit = limit
        self._routes: dict[Route, KnownRoute] = {}
        self._paths: dict[bytes, KnownRoute] = {}

    def __len__(self) -> int:
        return len(self._paths)

    def find(self, path: bytes) -> KnownRoute | None:
        """Return the route of a method and a path as in a request line; None if the policy must find it."""
        return self._paths.get(path)

    def add(self, path: bytes, route: Route) -> KnownRoute:
        """Remember the route that the policy found."""
        known = self._routes.get(route)
        if known is None:
            known = self._routes[route] = KnownRoute(route)
        if len(path) <= MAX_PATH:
            if len(self._paths) >= self._limit:
                self._paths.clear()
            self._paths[path] = known
        return known


@dataclass(slots=True)
class KnownRequest:
    """What is the same for all requests with the same header fields, on one connection, to one route.

    Args:
        decision: The decision while the caller's token is valid and the rate allows it.
        fingerprint: The fingerprint of the caller's token; None if there is no token.
        caller: The caller that the token identifies.
        bucket: Counts the requests.
        holder: Who holds the request's place.
        upstream: The service.
        passing: The header fields for the service, without the identifiers.
        passing_bytes: The same, as they are sent.
        cors: The header fields for the client's browser.
        cors_bytes: The same, as they are sent.
        cors_bytes_varied: The same without `Vary: Origin`, for responses that have it already.
    """

    decision: Forward
    fingerprint: bytes | None
    caller: Caller
    bucket: Bucket
    holder: str
    upstream: HttpUpstream | LocalUpstream
    passing: list[Header]
    passing_bytes: bytes
    cors: list[Header]
    cors_bytes: bytes
    cors_bytes_varied: bytes


@dataclass(slots=True)
class KnownFields:
    """Header fields of a connection.

    Args:
        sent: The bytes behind the request line.
        headers: The fields, parsed.
        ids: The identifiers in them.
        requests: What was found for them by route.
    """

    sent: bytes
    headers: list[Header]
    ids: SentIds
    requests: dict[KnownRoute, KnownRequest] = field(default_factory=dict)

    def add(self, route: KnownRoute, request: KnownRequest) -> None:
        if len(self.requests) >= MAX_ROUTES:
            self.requests.clear()
        self.requests[route] = request


def is_plain(matched: Matched) -> bool:
    """Return whether a request has no body and asks nothing unusual of its connection."""
    read = matched.fields.read
    connection = read.get(b"connection")
    return not any(name in read for name in UNUSUAL) and (connection is None or connection.lower() == b"keep-alive")


def parse_fields(head: bytes) -> list[Header] | None:
    """Parse a complete head as the server of the ASGI plane does. Return None if it is not one complete request."""
    fields = _HeadReader()
    try:
        httptools.HttpRequestParser(fields).feed_data(head)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return None
    return fields.headers if fields.is_complete else None


def is_one_head(data: bytes) -> bool:
    """Return whether the bytes are one head, and nothing follows it."""
    return data.endswith(HEAD_END) and data.find(HEAD_END) == len(data) - len(HEAD_END)


def encoded(headers: Iterable[Header]) -> bytes:
    """Return header fields as they are sent."""
    return b"".join([b"%b: %b\r\n" % each for each in headers])


class _HeadReader:
    def __init__(self) -> None:
        self.headers: list[Header] = []
        self.is_complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value.rstrip(b" \t")))

    def on_message_complete(self) -> None:
        self.is_complete = True
