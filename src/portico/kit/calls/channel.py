"""What a channel carries: a request to a service, and its answer. See `errors` for what may come instead."""

from dataclasses import dataclass, field
from typing import Protocol

from portico.kit.calls.errors import (
    AnswerInvalid,
    AnswerTooLarge,
    BreakerOpen,
    CalledInTransaction,
    CallError,
    CallFailed,
    CallTimedOut,
    ConnectionLost,
    Refused,
    Saturated,
    Unreachable,
)

__all__ = [
    "IDEMPOTENT",
    "AnswerInvalid",
    "AnswerTooLarge",
    "BreakerOpen",
    "CallError",
    "CallFailed",
    "CallTimedOut",
    "CalledInTransaction",
    "Channel",
    "ConnectionLost",
    "Headers",
    "Incoming",
    "Outgoing",
    "Refused",
    "Saturated",
    "Unreachable",
]

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})  # RFC 9110 section 9.2.2
Headers = list[tuple[bytes, bytes]]


@dataclass(slots=True)
class Outgoing:
    """A request to another service.

    Attributes:
        service: The service's name in this system.
        method: In upper case.
        path: Percent-encoded, beginning with a slash.
        query: Encoded, without the question mark.
        headers: Names in lower case. What belongs to the connection (host, content-length) is the channel's to add.
        body: The whole body.
        timeout: Seconds until the caller no longer waits; the callee is told.
        repeatable: May be sent again though it may have taken effect: its method is idempotent, it carries an
            idempotency key, or it only reads.
        probe: Goes to an instance whose breaker is open too, and by its success closes it. For what asks once in a
            while and has to know at once when the other is back.
        tried: Origins that were tried for this call; the channel adds the one it takes.
    """

    service: str
    method: str
    path: str
    query: bytes = b""
    headers: Headers = field(default_factory=list)
    body: bytes = b""
    timeout: float = 10.0
    repeatable: bool = False
    probe: bool = False
    tried: set[str] = field(default_factory=set)

    def headers_with_deadline(self) -> Headers:
        """The headers and `X-Request-Deadline-Ms`, the milliseconds left for this attempt."""
        return [*self.headers, (b"x-request-deadline-ms", b"%d" % max(1, int(self.timeout * 1000)))]


@dataclass(slots=True)
class Incoming:
    """The answer, whole.

    Attributes:
        status: The HTTP status.
        headers: Names in lower case.
        body: The whole body.
        in_doubt: The request was sent before, and nobody saw how that ended: it may take effect after this answer.
    """

    status: int
    headers: Headers
    body: bytes
    in_doubt: bool = False

    def header(self, name: bytes) -> bytes | None:
        """The first value of a header, by its name in lower case."""
        return next((value for each, value in self.headers if each == name), None)


class Channel(Protocol):
    """A way to other services."""

    async def send(self, out: Outgoing) -> Incoming:
        """Send a request and read its answer, any status.

        Raises:
            CallFailed: No usable answer came; its subclasses say whether the call may have taken effect.
        """
        ...
