"""Heads of responses: read as bytes, filtered and completed by the rules of `gateway.forwarding`."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from portico.gateway.forwarding import GATEWAY_ONLY, SECURITY_FIELDS
from portico.gateway.request_head import MAX_LENGTH_DIGITS, Header
from portico.kit.calls.breaker import PROXY_ERRORS

MAX_NAMES: Final = 4096
MAX_HEAD: Final = 65536
EVENT_STREAM: Final = b"text/event-stream"
BODILESS: Final = frozenset((204, 304))
VARY_ORIGIN: Final = b"Origin"
_KEEP_ALIVE: Final = b"keep-alive"
_PREFIX: Final = b"HTTP/1.1 "
_PRINTABLE: Final = re.compile(rb"[\r\n\x20-\x7e]*")
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# A response that says that its instance cannot serve may be retried. The ASGI plane does that.
_STATUS_LINES: Final = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode())
    for status in HTTPStatus
    if status.value >= HTTPStatus.OK and status.value not in PROXY_ERRORS
}


# How a field is treated. Plain numbers, because hashing members of an Enum would be half of the cost of a head.
_PASSED: Final = 1
_DROPPED: Final = 2
_LENGTH: Final = 3
_TYPE: Final = 4
_VARY: Final = 5
_SECURITY: Final = 6
_CONNECTION: Final = 7
_UNUSUAL: Final = 8

_SECURITY_LINES: Final = {name: b"%b: %b\r\n" % (name, value) for name, value in SECURITY_FIELDS}
_ALL_SECURITY: Final = b"".join(_SECURITY_LINES.values())
_KINDS: Final = {
    b"content-length": _LENGTH,
    b"content-type": _TYPE,
    b"vary": _VARY,
    b"connection": _CONNECTION,
    b"transfer-encoding": _UNUSUAL,
    b"upgrade": _UNUSUAL,
    **dict.fromkeys(_SECURITY_LINES, _SECURITY),
}
# By the spelling that services use, which is looked up without changing its case.
_known_names: dict[bytes, int] = {}


@dataclass(slots=True)
class AnswerHead:
    """The head of a response that the fast plane forwards.

    Args:
        status: The status.
        length: The length of the body in bytes.
        fields: The service's fields and the security fields, as they are sent.
        varies_by_origin: Whether the response has `Vary: Origin` already.
    """

    status: int
    length: int
    fields: bytes
    varies_by_origin: bool

    @property
    def line(self) -> bytes:
        return _STATUS_LINES[self.status]


def read_head(data: bytes, end: int) -> AnswerHead | None:
    """Read the head of a response to GET or DELETE.

    Args:
        data: What the service sent.
        end: Where the empty line begins that ends the head.

    Returns:
        The head; None if it is not plain, and the ASGI plane must read it.
    """
    status = data[9:12]
    if end > MAX_HEAD or not data.startswith(_PREFIX) or not status.isdigit() or data[12:13] != b" ":
        return None
    lines = data[:end].split(b"\r\n")
    breaks = len(lines) - 1
    if data.count(b"\n", 0, end) != breaks or data.count(b"\r", 0, end) != breaks:
        return None
    if _PRINTABLE.fullmatch(data, 0, end) is None:
        return None
    return read_lines(int(status), lines[1:])


def head_of(status: int, headers: Sequence[Header]) -> AnswerHead | None:
    """Return the head of a response of an application in this process; None as for `read_head`."""
    lines = [b"%b: %b" % each for each in headers]
    joined = b"".join(lines)
    if b"\r" in joined or b"\n" in joined or _PRINTABLE.fullmatch(joined) is None:
        return None
    return read_lines(status, lines)


def read_lines(status: int, lines: Sequence[bytes]) -> AnswerHead | None:
    """Filter the field lines of a response, which contain only printable characters."""
    passed: list[bytes] = []
    security: list[bytes] = []
    noted: dict[int, bytes] = {}
    for line in lines:
        colon = line.find(b":")
        name = line[:colon]
        kind = _known_names.get(name) or _kind_of(name)
        if kind == _PASSED:
            passed.append(line)
        elif kind == _SECURITY:
            passed.append(line)
            security.append(name.lower())
        elif kind != _DROPPED:
            if kind in noted:
                return None
            noted[kind] = line[colon + 1 :].strip()
            if kind != _CONNECTION:
                passed.append(line)
    length = _length(status, noted)
    if length is None or status not in _STATUS_LINES:
        return None
    passed.append(b"")
    fields = b"\r\n".join(passed) + (_missing_security(security) if security else _ALL_SECURITY)
    return AnswerHead(status, length, fields, noted.get(_VARY) == VARY_ORIGIN)


def _length(status: int, noted: Mapping[int, bytes]) -> int | None:
    """Return the length of the body; None if the response is not plain."""
    is_stream = noted.get(_TYPE, b"").startswith(EVENT_STREAM)
    is_kept = noted.get(_CONNECTION, _KEEP_ALIVE).lower() == _KEEP_ALIVE
    if is_stream or not is_kept or _UNUSUAL in noted:
        return None
    length = noted.get(_LENGTH)
    if length is None:
        return 0 if status in BODILESS else None
    return int(length) if length.isdigit() and len(length) <= MAX_LENGTH_DIGITS and status not in BODILESS else None


def _missing_security(present: Collection[bytes]) -> bytes:
    return b"".join([line for name, line in _SECURITY_LINES.items() if name not in present])


def _kind_of(name: bytes) -> int:
    """Return how to treat a field, and remember it for this spelling of the name."""
    if _NAME.fullmatch(name) is None:
        return _UNUSUAL
    lower = name.lower()
    kind = _KINDS.get(lower) or (_DROPPED if lower in GATEWAY_ONLY else _PASSED)
    if len(_known_names) < MAX_NAMES:
        _known_names[name] = kind
    return kind
