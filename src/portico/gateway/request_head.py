"""Strict parsing of a request head.

Request smuggling (RFC 9112 section 11.2) and path traversal rely on two parsers that read one request differently.
Therefore ambiguous requests are refused, and nothing is rewritten.
"""

import enum
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from portico.kit.foundation.problems import BadRequest, Problem

Header = tuple[bytes, bytes]

MAX_TARGET = 8192
MAX_FIELDS = 100
MAX_FIELD_BYTES = 32768
MAX_LENGTH_DIGITS = 18

# RFC 9110 section 7.6.1, and fields of older proxies.
HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
    )
)
# Only the gateway may send these to a service. It drops the client's values and sets its own if a service needs them.
GUARDED = HOP_BY_HOP | frozenset(
    (
        b"host",
        b"expect",
        b"forwarded",
        b"proxy",
        b"traceparent",
        b"tracestate",
        b"via",
        b"x-request-id",
        b"x-request-deadline-ms",
        b"x-real-ip",
        b"x-client-ip",
        b"x-cluster-client-ip",
        b"x-original-url",
        b"x-original-host",
        b"x-original-method",
        b"x-rewrite-url",
        b"x-http-method",
        b"x-http-method-override",
        b"x-method-override",
        b"true-client-ip",
        b"cf-connecting-ip",
    )
)
GUARDED_PREFIXES = (b"x-forwarded-", b"x-portico-", b"x-envoy-", b"sec-websocket-")
# Fields that may occur only once, because parsers disagree on whether the first or the last one counts.
SINGLE = frozenset((b"host", b"content-length", b"transfer-encoding", b"authorization", b"content-type", b"origin"))
# Fields that Connection must not list, because removing them would change the meaning of the request.
END_TO_END = frozenset((b"content-length", b"host", b"authorization", b"content-type", b"cookie"))

NAMES = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]*")
BAD_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
HOST = re.compile(rb"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")
PLAIN_PATH = re.compile(rb"(?:/[A-Za-z0-9_~!$&'()*+,;=:@-][A-Za-z0-9._~!$&'()*+,;=:@-]*)+/?|/")
PATH = re.compile(rb"(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})*)+")
QUERY = re.compile(rb"[\x21\x22\x24-\x7e]*")


class TargetTooLong(Problem):
    status = 414
    detail = "The path and query are longer than {limit} bytes."

    limit: int


class HeadersTooLarge(Problem):
    status = 431
    detail = "The request has more than {fields} header fields or {limit} bytes of them."

    fields: int
    limit: int


class RequestHead(NamedTuple):
    """A request without its body.

    Args:
        method: The method in upper case; WEBSOCKET for a WebSocket handshake.
        path: The path as received: percent-encoded, without the query.
        query: The query as received, without the question mark.
        headers: Names in lower case, in the order received.
        peer: The address of the connection's peer: a client or a proxy.
        scheme: The scheme of the connection: http or https.
        http_version: "1.0", "1.1" or "2".
    """

    method: str
    path: bytes
    query: bytes = b""
    headers: Sequence[Header] = ()
    peer: str = ""
    scheme: str = "http"
    http_version: str = "1.1"


class FieldKind(enum.Enum):
    """How the gateway treats a request header field."""

    FORWARDED = enum.auto()
    GUARDED = enum.auto()
    IGNORED = enum.auto()


@lru_cache(maxsize=4096)
def _kind(name: bytes) -> FieldKind:
    """Classify a field. The result is cached, because requests repeat the same few names."""
    if b"_" in name:
        return FieldKind.IGNORED  # a server that maps '-' to '_' would confuse it with a guarded field
    return FieldKind.GUARDED if name in GUARDED or name.startswith(GUARDED_PREFIXES) else FieldKind.FORWARDED


class Fields:
    """Header fields of a request: the fields that the gateway reads, and the fields that it forwards."""

    __slots__ = ("content_length", "forwarded", "read")

    def __init__(self, headers: Sequence[Header]) -> None:
        """Validate and classify the fields. Raises BadRequest, HeadersTooLarge."""
        _check_shape(headers)
        self.read: dict[bytes, bytes] = {}
        self.forwarded: list[Header] = []
        self._sort(headers)
        if (connection := self.read.get(b"connection")) is not None:
            self._drop_named_in(connection)
        self.content_length = self._framing()

    def get(self, name: bytes) -> bytes | None:
        return self.read.get(name)

    def with_forwarded(self, headers: Sequence[Header]) -> "Fields":
        """Return the same fields with additional forwarded ones, which are already checked."""
        fields = Fields.__new__(Fields)
        fields.read = self.read | dict(headers)
        fields.forwarded = [*self.forwarded, *headers]
        fields.content_length = self.content_length
        return fields

    @property
    def has_body(self) -> bool:
        return bool(self.content_length) or b"transfer-encoding" in self.read

    def _sort(self, headers: Sequence[Header]) -> None:
        read, forwarded = self.read, self.forwarded
        for field in headers:
            name, value = field
            kind = _kind(name)
            if kind is FieldKind.IGNORED:
                continue
            if name in read:
                if name in SINGLE:
                    raise BadRequest(reason=f"there is more than one {name.decode()} header")
                read[name] += b", " + value
            else:
                read[name] = value
            if kind is FieldKind.FORWARDED:
                forwarded.append(field)

    def _drop_named_in(self, connection: bytes) -> None:
        named = {name.strip().lower() for name in connection.split(b",")}
        if named & END_TO_END:
            raise BadRequest(reason="the Connection header lists an end-to-end field")
        if not named <= {b"keep-alive", b"close", b"upgrade"}:
            self.forwarded = [field for field in self.forwarded if field[0] not in named]

    def _framing(self) -> int | None:
        """Return the declared body length (RFC 9112 section 6); None for a chunked body and for no body."""
        coding = self.read.get(b"transfer-encoding")
        length = self.read.get(b"content-length")
        if coding is not None:
            if length is not None:
                raise BadRequest(reason="the request has both Content-Length and Transfer-Encoding")
            if coding.strip().lower() != b"chunked":
                raise BadRequest(reason="the transfer coding is not chunked")
            return None
        if length is None:
            return None
        if not length.isdigit() or len(length) > MAX_LENGTH_DIGITS:
            raise BadRequest(reason="Content-Length is not a number")
        return int(length)


def _check_shape(headers: Sequence[Header]) -> None:
    names = b"".join([name for name, _ in headers])
    values = b"".join([value for _, value in headers])
    if len(headers) > MAX_FIELDS or len(names) + len(values) > MAX_FIELD_BYTES:
        raise HeadersTooLarge(fields=MAX_FIELDS, limit=MAX_FIELD_BYTES)
    if NAMES.fullmatch(names) is None:
        raise BadRequest(reason="a header name contains characters that are not allowed")
    if BAD_VALUE.search(values) is not None:
        raise BadRequest(reason="a header value contains control characters")
    if not values.isascii() and not all(_is_utf8(value) for _, value in headers):
        raise BadRequest(reason="a header value is not UTF-8")


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def check_host(fields: Fields, http_version: str) -> None:
    """Check the Host header (RFC 9112 section 3.2). Raises BadRequest if it is missing in HTTP/1.1, or not a host."""
    host = fields.get(b"host")
    if host is None:
        if http_version == "1.1":
            raise BadRequest(reason="the Host header is missing")
    elif HOST.fullmatch(host) is None:
        raise BadRequest(reason="the Host header is not a host")


def check_query(path: bytes, query: bytes) -> None:
    """Check the query, and its length together with the path. Raises BadRequest, TargetTooLong."""
    if len(path) + len(query) > MAX_TARGET:
        raise TargetTooLong(limit=MAX_TARGET)
    if QUERY.fullmatch(query) is None:
        raise BadRequest(reason="the query contains characters that must be percent-encoded")


def read_path(head: RequestHead) -> str:
    """Return the decoded path for the route table.

    Raises:
        BadRequest: a service could read the path differently: dot segments, empty segments, encoded slashes, control
            characters, bytes that are not UTF-8, invalid percent-encoding.
        TargetTooLong: path and query are longer than MAX_TARGET.
    """
    raw = head.path
    check_query(raw, head.query)
    if PLAIN_PATH.fullmatch(raw) is not None:
        return raw.decode("ascii")
    return _decode(raw)


def _decode(raw: bytes) -> str:
    if PATH.fullmatch(raw) is None:
        raise BadRequest(reason="the path contains characters that must be percent-encoded")
    segments = [unquote_to_bytes(segment) for segment in raw[1:].split(b"/")]
    if any(segment in {b".", b".."} for segment in segments) or b"" in segments[:-1]:
        raise BadRequest(reason="the path contains empty segments or dot segments")
    decoded = b"/".join(segments)
    if decoded.count(b"/") != len(segments) - 1 or re.search(rb"[\x00-\x1f\x7f\\]", decoded):
        raise BadRequest(reason="the path contains an encoded slash, backslash or control character")
    try:
        return "/" + decoded.decode()
    except UnicodeDecodeError:
        raise BadRequest(reason="the path is not UTF-8") from None
