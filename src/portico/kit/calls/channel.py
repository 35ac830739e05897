"""Requests and responses of calls between services, and the channel protocol. See `errors` for failures."""

from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from portico.kit.calls.errors import (
    BreakerOpen,
    CalledInTransaction,
    CallError,
    CallFailed,
    CallTimedOut,
    ConnectionLost,
    Refused,
    ResponseInvalid,
    ResponseTooLarge,
    Saturated,
    Unreachable,
)
from portico.kit.telemetry.trace_context import TraceContext

__all__ = [
    "IDEMPOTENT",
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
    "ResponseInvalid",
    "ResponseTooLarge",
    "Saturated",
    "Unreachable",
]

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})  # RFC 9110 section 9.2.2
Headers = list[tuple[bytes, bytes]]


@dataclass(slots=True)
class Outgoing:
    """A request to another service.

    Attributes:
        service: name of the service in this system.
        method: in upper case.
        path: percent-encoded, with a leading slash.
        query: encoded, without the question mark.
        headers: names in lower case. The channel adds those of the connection (host, content-length).
        body: the whole body.
        timeout: time limit (seconds). It is sent to the called service.
        repeatable: whether it may be sent again although it may have taken effect: the method is idempotent, it has an
            idempotency key, or it only reads.
        probe: whether it may be sent to an instance whose breaker is open. Success closes the breaker. For infrequent
            calls that must detect the recovery of the service immediately.
        is_batch: whether it contains several calls, see `portico.kit.calls.call_batcher`.
        links: the spans of the calls that it contains.
        tried: origins already tried for this call. The channel adds the origin that it uses.
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
    is_batch: bool = False
    links: Sequence[TraceContext] = ()
    tried: set[str] = field(default_factory=set)

    def headers_with_deadline(self) -> Headers:
        """Return the headers with `X-Request-Deadline-Ms`, the milliseconds left for this attempt."""
        return [*self.headers, (b"x-request-deadline-ms", b"%d" % max(1, int(self.timeout * 1000)))]


@dataclass(slots=True)
class Incoming:
    """A complete response.

    Attributes:
        status: the HTTP status.
        headers: names in lower case.
        body: the whole body.
        in_doubt: whether an earlier attempt has an unknown outcome and may still take effect.
    """

    status: int
    headers: Headers
    body: bytes
    in_doubt: bool = False

    def header(self, name: bytes) -> bytes | None:
        """Return the first value of a header, given its name in lower case."""
        return next((value for each, value in self.headers if each == name), None)


class Channel(Protocol):
    """Sends requests to other services."""

    async def send(self, out: Outgoing) -> Incoming:
        """Send a request and return the response, whatever its status.

        Raises:
            CallFailed: there is no usable response. Its subclasses say whether the call may have taken effect.
        """
        ...


class RoutingChannel:
    """Calls services of this process directly and others over HTTP. The behaviour is the same for callers.

    Args:
        local_services: names of the services in this process. It is read at each call.
        local: channel to these services.
        remote: channel to the others.
    """

    def __init__(self, local_services: Container[str], local: Channel, remote: Channel) -> None:
        self._local_services = local_services
        self._local = local
        self._remote = remote

    async def send(self, out: Outgoing) -> Incoming:
        """Send a request over the channel of its service. Raises CallFailed, see `Channel`."""
        return await (self._local if out.service in self._local_services else self._remote).send(out)
