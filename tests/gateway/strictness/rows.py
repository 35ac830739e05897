"""How raw requests are answered: the types of the table in `table.py`, and builders of requests."""

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

CRLF: Final = b"\r\n"
ROW: Final = b"{row}"
"""Stands for the row's number in a target, by which the recording service tells the rows apart."""


class Step(Enum):
    """What the client does between two writes."""

    AWAIT_ANSWER = auto()
    AWAIT_EARLY_ANSWER = auto()  # before the request is whole; NGINX forwards only whole requests
    AWAIT_ARRIVAL = auto()  # until the request has reached the service; likewise
    HALF_CLOSE = auto()
    BYTE_BY_BYTE = auto()  # the next write is sent in as many segments as it has bytes


class Fate(Enum):
    """What becomes of the connection after the last answer."""

    KEPT = "kept"
    CLOSED = "closed"
    SWITCHED = "switched to WebSocket"


@dataclass(frozen=True)
class Outcome:
    """What a client and the service see.

    Attributes:
        answers: The statuses in order, with informational ones.
        fate: What becomes of the connection.
        reached: The requests that reached the service whole, as "METHOD body".
        why: Why this outcome differs from the row's.
        next_answers: The statuses that the next request gets, if it is taken for something else.
    """

    answers: tuple[int, ...]
    fate: Fate
    reached: tuple[str, ...] = ()
    why: str = ""
    next_answers: tuple[int, ...] = ()


@dataclass(frozen=True)
class Row:
    """One raw exchange on a connection of its own.

    Attributes:
        name: What is special about it.
        sent: Bytes and steps.
        outcome: What is right.
        service: What is right on a service's own port, if it differs.
        split: What is right at a gateway that reaches the service over HTTP, if it differs.
        hidden: Field names that never reach the service.
        dropped: Field names that the gateway does not forward.
        seen: Fields with the values that the service receives.
        is_slow: Whether the row waits for the time-out of a head.
    """

    name: str
    sent: tuple[bytes | Step, ...]
    outcome: Outcome
    service: Outcome | None = None
    split: Outcome | None = None
    hidden: tuple[bytes, ...] = ()
    dropped: tuple[bytes, ...] = ()
    seen: dict[bytes, bytes] = field(default_factory=dict)
    is_slow: bool = False


def request(
    line: bytes = b"GET /echo/{row} HTTP/1.1", *fields: bytes, host: bytes | None = b"Host: a", body: bytes = b""
) -> bytes:
    """Return a request with these field lines."""
    lines = [line, *([] if host is None else [host]), *fields, b"", b""]
    return CRLF.join(lines) + body


def get(*fields: bytes) -> bytes:
    return request(b"GET /echo/{row} HTTP/1.1", *fields)


def post(*fields: bytes, body: bytes = b"") -> bytes:
    return request(b"POST /echo/{row} HTTP/1.1", *fields, body=body)


def old(*fields: bytes, method: bytes = b"GET", body: bytes = b"") -> bytes:
    """Return a request in HTTP/1.0."""
    return request(method + b" /echo/{row} HTTP/1.0", *fields, body=body)


def chunked(body: bytes, *fields: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked", *fields, body=body)


def handshake(
    *fields: bytes,
    line: bytes = b"GET /ws/{row} HTTP/1.1",
    upgrade: bytes = b"Upgrade: websocket",
    connection: bytes = b"Connection: Upgrade",
    key: bytes = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    version: bytes = b"Sec-WebSocket-Version: 13",
    body: bytes = b"",
) -> bytes:
    """Return a WebSocket handshake (RFC 6455 section 4.1). An empty line is left out."""
    lines = (connection, upgrade, key, version, *fields)
    return request(line, *(each for each in lines if each), body=body)
