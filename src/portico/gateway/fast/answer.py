"""Response heads: parsed from bytes, then filtered and completed by the rules of `gateway.forwarding`."""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from operator import itemgetter
from typing import Final

import httptools

from portico.gateway.forwarding import GATEWAY_ONLY, SECURITY_FIELDS
from portico.gateway.request_head import MAX_LENGTH_DIGITS, Header
from portico.kit.calls.breaker import PROXY_ERRORS

MAX_SHAPES: Final = 1024
"""Maximum number of cached sequences of field names. When it is exceeded, the cache is cleared."""
MAX_HEAD: Final = 65536
EVENT_STREAM: Final = b"text/event-stream"
BODILESS: Final = frozenset((204, 304))
CHUNKED: Final = -1
LAST_CHUNK: Final = b"0\r\n\r\n"
VARY_ORIGIN: Final = b"Origin"
_KEEP_ALIVE: Final = b"keep-alive"
_PRINTABLE: Final = re.compile(rb"[\x20-\x7e]*")
_LINES: Final = re.compile(rb"HTTP/1\.1 (\d{3}) [\x20-\x7e]*(?:\r\n[\x20-\x7e]*)*")
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_NAMES: Final = re.compile(rb"\r\n([!#$%&'*+\-.^_`|~0-9A-Za-z]+):")
# A response that says that its instance cannot serve may be retried. The ASGI plane does that.
STATUS_LINES: Final = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode())
    for status in HTTPStatus
    if status.value >= HTTPStatus.OK and status.value not in PROXY_ERRORS
}


# Encoded statuses of responses with a body.
_STATUSES: Final = {b"%d" % status: status for status in STATUS_LINES if status not in BODILESS}

# Treatments of a field. They are plain numbers, because hashing Enum members would be half of the cost of a head.
_PASSED: Final = 1
_DROPPED: Final = 2
_LENGTH: Final = 3
_TYPE: Final = 4
_VARY: Final = 5
_SECURITY: Final = 6
_CONNECTION: Final = 7
_UNUSUAL: Final = 8
_CODING: Final = 9

_VALUES: Final = {
    _LENGTH: rb" *+([0-9]{1,%d}) *+" % MAX_LENGTH_DIGITS,
    _TYPE: rb"(?! *+%b)[ -~]*+" % EVENT_STREAM,
    _VARY: rb"(?P<vary>[ -~]*+)",
    _CONNECTION: rb" *+(?i:keep-alive) *+",
}
_SECURITY_LINES: Final = {name: b"%b: %b\r\n" % (name, value) for name, value in SECURITY_FIELDS}
_KINDS: Final = {
    b"content-length": _LENGTH,
    b"content-type": _TYPE,
    b"vary": _VARY,
    b"connection": _CONNECTION,
    b"transfer-encoding": _CODING,
    b"upgrade": _UNUSUAL,
    **dict.fromkeys(_SECURITY_LINES, _SECURITY),
}


@dataclass(slots=True)
class ResponseHead:
    """The head of a response that the fast plane forwards.

    Args:
        status: The status.
        length: The length of the body in bytes; CHUNKED if it is not known and the body is sent in chunks.
        fields: The encoded fields of the service, and the security fields.
        varies_by_origin: Whether the response already has `Vary: Origin`.
        shape: The shape that read the fields; it may fit the next response to the same request.
    """

    status: int
    length: int
    fields: bytes
    varies_by_origin: bool
    shape: "Shape" = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Shape:
    """Treatment of the field lines of heads with the same names in the same order.

    Args:
        passed: Chooses the lines that are forwarded.
        length: Index of `Content-Length`; -1 if it is absent.
        type: Index of `Content-Type`; -1 if it is absent.
        vary: Index of `Vary`; -1 if it is absent.
        connection: Index of `Connection`; -1 if it is absent.
        coding: Index of `Transfer-Encoding`; -1 if it is absent.
        security: The security fields that are missing.
        pattern: Matches a plain head with these names and a length; None if there is no length, or chunks.
        groups: The groups of `pattern`: status, length, and the lines that are forwarded.
    """

    passed: Callable[[Sequence[bytes]], Sequence[bytes]]
    length: int
    type: int
    vary: int
    connection: int
    coding: int
    security: bytes
    pattern: re.Pattern[bytes] | None
    groups: tuple[int, ...]

    def read(self, data: bytes) -> tuple[ResponseHead, int] | None:
        """Read the head of a response with the same names, at less cost than `read_head`.

        Returns:
            The head, and the index at which the body begins; None if `read_head` must decide.
        """
        found = None if self.pattern is None else self.pattern.match(data)
        if found is None:
            return None
        code, length, *passed = found.group(*self.groups)
        status, end = _STATUSES.get(code), found.end()
        if status is None or end > MAX_HEAD:
            return None
        varies = self.vary >= 0 and found["vary"].strip() == VARY_ORIGIN
        return ResponseHead(status, int(length), b"".join(passed) + self.security, varies, self), end


# Shapes by the names as services spell them; None if the ASGI plane must read such a head.
_shapes: dict[tuple[bytes, ...], Shape | None] = {}


def read_head(data: bytes, end: int) -> ResponseHead | None:
    """Read the head of a response to GET or DELETE.

    Args:
        data: The bytes that the service sent.
        end: Index of the empty line that ends the head.

    Returns:
        The head; None if it is not plain, and the ASGI plane must read it.
    """
    found = _LINES.fullmatch(data, 0, end) if end <= MAX_HEAD else None
    if found is None:
        return None
    lines = data[:end].split(b"\r\n")
    names = _NAMES.findall(data, 0, end)
    if len(names) != len(lines) - 1:
        return None
    return read_lines(int(found[1]), tuple(names), lines[1:])


def head_of(status: int, headers: Sequence[Header]) -> ResponseHead | None:
    """Return the head of a response of an application in this process; None as in `read_head`."""
    lines = [b"%b: %b" % each for each in headers]
    names = tuple([name for name, _ in headers])
    if _PRINTABLE.fullmatch(b"".join(lines)) is None or b"transfer-encoding" in names:
        return None
    return read_lines(status, names, lines, is_local=True)


def read_lines(
    status: int, names: tuple[bytes, ...], lines: Sequence[bytes], *, is_local: bool = False
) -> ResponseHead | None:
    """Filter the field lines of a response, which contain only printable characters, by their names.

    Args:
        status: The status.
        names: The names of the fields, as the service spells them.
        lines: The lines.
        is_local: Whether the application ends a body without a length, instead of the connection.
    """
    try:
        shape = _shapes[names]
    except KeyError:
        shape = _remember_shape(names)
    if shape is None or status not in STATUS_LINES:
        return None
    length = _length(status, shape, lines, is_local=is_local)
    if length is None:
        return None
    fields = b"\r\n".join((*shape.passed(lines), shape.security))
    if length == CHUNKED:
        fields += b"transfer-encoding: chunked\r\n"
    return ResponseHead(status, length, fields, shape.vary >= 0 and _value(lines[shape.vary]) == VARY_ORIGIN, shape)


def _length(status: int, shape: Shape, lines: Sequence[bytes], *, is_local: bool) -> int | None:
    """Return the length of the body, or CHUNKED; None if the response is not plain."""
    if shape.connection >= 0 and _value(lines[shape.connection]).lower() != _KEEP_ALIVE:
        return None
    if shape.type >= 0 and _value(lines[shape.type]).startswith(EVENT_STREAM):
        return None
    if shape.coding >= 0:
        is_chunked = _value(lines[shape.coding]).lower() == b"chunked" and shape.length < 0 and status not in BODILESS
        return CHUNKED if is_chunked else None
    if shape.length < 0:
        return 0 if status in BODILESS else CHUNKED if is_local else None
    length = _value(lines[shape.length])
    return int(length) if length.isdigit() and len(length) <= MAX_LENGTH_DIGITS and status not in BODILESS else None


def _value(line: bytes) -> bytes:
    return line[line.find(b":") + 1 :].strip()


def _remember_shape(names: tuple[bytes, ...]) -> Shape | None:
    if len(_shapes) >= MAX_SHAPES:
        _shapes.clear()
    shape = _shapes[names] = _shape_of(names)
    return shape


def _shape_of(names: Sequence[bytes]) -> Shape | None:
    kinds = [_kind_of(name) for name in names]
    places: dict[int, int] = {}
    for index, kind in enumerate(kinds):
        if kind in {_LENGTH, _TYPE, _VARY, _CONNECTION, _CODING, _UNUSUAL}:
            if kind in places or kind == _UNUSUAL:
                return None
            places[kind] = index
    present = {name.lower() for name, kind in zip(names, kinds, strict=True) if kind == _SECURITY}
    passed = [index for index, kind in enumerate(kinds) if kind not in {_DROPPED, _CONNECTION, _CODING}]
    length, kind, vary, connection, coding = (
        places.get(each, -1) for each in (_LENGTH, _TYPE, _VARY, _CONNECTION, _CODING)
    )
    security = _missing_security(present)
    pattern, groups = (None, ()) if length < 0 or coding >= 0 else _pattern_of(names, kinds)
    return Shape(_chooser(passed), length, kind, vary, connection, coding, security, pattern, groups)


def _pattern_of(names: Sequence[bytes], kinds: Sequence[int]) -> tuple[re.Pattern[bytes], tuple[int, ...]]:
    """Return the pattern of a shape, which replaces `_length`, and its groups. Adjacent lines are one group."""
    pattern, groups, count, is_open = rb"HTTP/1\.1 (\d{3}) [ -~]*+\r\n", [1], 1, False
    for name, kind in zip(names, kinds, strict=True):
        is_passed = kind not in {_DROPPED, _CONNECTION}
        if is_passed and not is_open:
            pattern, count = pattern + b"(", count + 1
            groups.append(count)
        elif is_open and not is_passed:
            pattern += b")"
        is_open = is_passed
        pattern += re.escape(name) + b":" + _VALUES.get(kind, rb"[ -~]*+") + rb"\r\n"
        if kind in {_LENGTH, _VARY}:
            count += 1
            if kind == _LENGTH:
                groups.insert(1, count)
    return re.compile(pattern + (b")" if is_open else b"") + rb"\r\n"), tuple(groups)


def _chooser(indices: Sequence[int]) -> Callable[[Sequence[bytes]], Sequence[bytes]]:
    if len(indices) > 1:
        return itemgetter(*indices)
    return lambda lines: [lines[index] for index in indices]


def _missing_security(present: Collection[bytes]) -> bytes:
    return b"".join([line for name, line in _SECURITY_LINES.items() if name not in present])


def _kind_of(name: bytes) -> int:
    """Return how to treat a field."""
    if _NAME.fullmatch(name) is None:
        return _UNUSUAL
    lower = name.lower()
    return _KINDS.get(lower) or (_DROPPED if lower in GATEWAY_ONLY else _PASSED)


def chunk_of(data: bytes) -> bytes:
    """Return a part of a body as a chunk. Return no bytes for an empty part, because an empty chunk ends the body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


class ChunkReader:
    """Reads a chunked response with the parser of the ASGI plane. Extensions and trailers are dropped.

    Attributes:
        is_complete: Whether the last chunk was read.
        is_followed: Whether more bytes followed it.
    """

    def __init__(self) -> None:
        self.is_complete = self.is_followed = False
        self._parts: list[bytes] = []
        self._parser = httptools.HttpResponseParser(self)

    def read(self, data: bytes) -> bytes:
        """Return the body in the next bytes of the response. The response begins with its head.

        Raises:
            httptools.HttpParserError: the bytes are not a chunked response.
        """
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            if not self.is_complete:
                raise
            self.is_followed = True
        body = b"".join(self._parts)
        self._parts.clear()
        return body

    def on_message_begin(self) -> None:
        self.is_followed = self.is_complete

    def on_body(self, body: bytes) -> None:
        if not self.is_complete:
            self._parts.append(body)

    def on_message_complete(self) -> None:
        self.is_complete = True
