"""What came in, before anybody acts on it: the head of a request, read strictly.

Two readers of one request that disagree are how requests get smuggled (RFC 9112 section 11.2) and how a path reaches
what its check did not see. So what can be read in two ways is refused here, and nothing is rewritten.
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

# RFC 9110 section 7.6.1, and what older proxies invented.
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
# Only the gateway says these to a service, and those of them that somebody reads it says anew.
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
# Fields that a request may carry once: a second one would be read by whoever looks last, or first.
SINGLE = frozenset((b"host", b"content-length", b"transfer-encoding", b"authorization", b"content-type", b"origin"))
# Fields that Connection may not name: taking them away would change what the request is.
END_TO_END = frozenset((b"content-length", b"host", b"authorization", b"content-type", b"cookie"))

NAMES = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]*")
BAD_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
HOST = re.compile(rb"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")
PLAIN_PATH = re.compile(rb"(?:/[A-Za-z0-9_~!$&'()*+,;=:@-][A-Za-z0-9._~!$&'()*+,;=:@-]*)+/?|/")
PATH = re.compile(rb"(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})*)+")
QUERY = re.compile(rb"[\x21\x22\x24-\x7e]*")


class TargetTooLong(Problem):
    status = 414
    code = "target_too_long"
    detail = "The path and query are longer than {limit} bytes."

    limit: int


class HeadersTooLarge(Problem):
    status = 431
    code = "headers_too_large"
    detail = "The request has more than {fields} header fields or {limit} bytes of them."

    fields: int
    limit: int


class RequestHead(NamedTuple):
    """A request before its body.

    Args:
        method: In upper case; WEBSOCKET for a WebSocket handshake.
        path: As it came: percent-encoded, without the query.
        query: As it came, without the question mark.
        headers: Names in lower case, in the order in which they came.
        peer: The address of who is connected: a client, or a proxy.
        scheme: http or https, as the connection itself has it.
        http_version: "1.0", "1.1" or "2".
    """

    method: str
    path: bytes
    query: bytes = b""
    headers: Sequence[Header] = ()
    peer: str = ""
    scheme: str = "http"
    http_version: str = "1.1"


class Kind(enum.Enum):
    """What becomes of a field on its way up."""

    PASSED = enum.auto()
    GUARDED = enum.auto()
    IGNORED = enum.auto()


@lru_cache(maxsize=4096)
def _kind(name: bytes) -> Kind:
    """Remembered, because requests repeat the same few names."""
    if b"_" in name:
        return Kind.IGNORED  # a server that turns '-' into '_' would take it for the field that is guarded
    return Kind.GUARDED if name in GUARDED or name.startswith(GUARDED_PREFIXES) else Kind.PASSED


class Fields:
    """The header fields of a request, sorted into what the gateway reads and what goes on to the service."""

    __slots__ = ("content_length", "passing", "read")

    def __init__(self, headers: Sequence[Header]) -> None:
        """Raises BadRequest and HeadersTooLarge."""
        _check_shape(headers)
        self.read: dict[bytes, bytes] = {}
        self.passing: list[Header] = []
        self._sort(headers)
        if (connection := self.read.get(b"connection")) is not None:
            self._drop_named_in(connection)
        self.content_length = self._framing()

    def get(self, name: bytes) -> bytes | None:
        return self.read.get(name)

    @property
    def has_body(self) -> bool:
        return bool(self.content_length) or b"transfer-encoding" in self.read

    def _sort(self, headers: Sequence[Header]) -> None:
        read, passing = self.read, self.passing
        for field in headers:
            name, value = field
            kind = _kind(name)
            if kind is Kind.IGNORED:
                continue
            if name in read:
                if name in SINGLE:
                    raise BadRequest(reason=f"there is more than one {name.decode()} header")
                read[name] += b", " + value
            else:
                read[name] = value
            if kind is Kind.PASSED:
                passing.append(field)

    def _drop_named_in(self, connection: bytes) -> None:
        named = {name.strip().lower() for name in connection.split(b",")}
        if named & END_TO_END:
            raise BadRequest(reason="the Connection header names a field that belongs to the whole way")
        if not named <= {b"keep-alive", b"close", b"upgrade"}:
            self.passing = [field for field in self.passing if field[0] not in named]

    def _framing(self) -> int | None:
        """The length announced (RFC 9112 section 6); None for a chunked body and for none."""
        coding = self.read.get(b"transfer-encoding")
        length = self.read.get(b"content-length")
        if coding is not None:
            if length is not None:
                raise BadRequest(reason="it has both Content-Length and Transfer-Encoding")
            if coding.strip().lower() != b"chunked":
                raise BadRequest(reason="a transfer coding other than chunked")
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
        raise BadRequest(reason="a header name has characters that no header name has")
    if BAD_VALUE.search(values) is not None:
        raise BadRequest(reason="a header value has control characters")
    if not values.isascii() and not all(_is_utf8(value) for _, value in headers):
        raise BadRequest(reason="a header value is not UTF-8")


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def check_host(fields: Fields, http_version: str) -> None:
    """Refuse a Host that is absent where it must be, or is no host (RFC 9112 section 3.2). Raises BadRequest."""
    host = fields.get(b"host")
    if host is None:
        if http_version == "1.1":
            raise BadRequest(reason="the Host header is missing")
    elif HOST.fullmatch(host) is None:
        raise BadRequest(reason="the Host header is not a host")


def read_path(head: RequestHead) -> str:
    """The path, decoded, for the route table.

    Raises BadRequest for what a service might read as another path: dot segments, empty segments, encoded slashes,
    NULs, bytes that are not UTF-8, broken percent-encoding.
    """
    raw = head.path
    if len(raw) + len(head.query) > MAX_TARGET:
        raise TargetTooLong(limit=MAX_TARGET)
    if QUERY.fullmatch(head.query) is None:
        raise BadRequest(reason="the query has characters that must be percent-encoded")
    if PLAIN_PATH.fullmatch(raw) is not None:
        return raw.decode("ascii")
    return _decode(raw)


def _decode(raw: bytes) -> str:
    if PATH.fullmatch(raw) is None:
        raise BadRequest(reason="the path has characters that must be percent-encoded")
    segments = [unquote_to_bytes(segment) for segment in raw[1:].split(b"/")]
    if any(segment in {b".", b".."} for segment in segments) or b"" in segments[:-1]:
        raise BadRequest(reason="the path has empty segments or dot segments")
    decoded = b"/".join(segments)
    if decoded.count(b"/") != len(segments) - 1 or re.search(rb"[\x00-\x1f\x7f\\]", decoded):
        raise BadRequest(reason="the path has an encoded slash, backslash or control character")
    try:
        return "/" + decoded.decode()
    except UnicodeDecodeError:
        raise BadRequest(reason="the path is not UTF-8") from None
