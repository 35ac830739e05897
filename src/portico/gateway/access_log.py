"""Access record: the gateway's report about each finished request."""

import enum
from dataclasses import dataclass
from typing import Protocol


class Outcome(enum.Enum):
    """How a request ended."""

    COMPLETE = "complete"
    CLIENT_GONE = "client_gone"
    BODY_REFUSED = "body_refused"
    STOPPED = "stopped"
    STALLED = "stalled"
    BROKEN = "broken"


@dataclass(slots=True)
class AccessRecord:
    """One request.

    Args:
        method: The HTTP method; WEBSOCKET for a handshake.
        path: The path as the client sent it, without the query string (which may contain a ticket).
        route: The route template; "unmatched" if no route matched, "own" for the gateway's own pages.
        service: The service that received the request; None if the gateway responded itself.
        status: The response status; 499 if the client disconnected before the response, 101 for an opened WebSocket.
        seconds: Time from the request head to the end of the response.
        upstream_seconds: Time until the service's response began.
        attempts: How many instances were tried.
        outcome: How the request ended, such as "complete" or "client_gone".
        rate_limited: Whether the request was refused with 429.
    """

    method: str
    path: str
    request_id: str
    trace_id: str
    client: str
    route: str = "unmatched"
    service: str | None = None
    caller: str | None = None
    status: int = 0
    seconds: float = 0.0
    upstream_seconds: float = 0.0
    attempts: int = 0
    outcome: str = "complete"
    rate_limited: bool = False


class ResponseCounter(Protocol):
    """Counts complete responses of one route with one status."""

    def add(self, seconds: float, upstream_seconds: float) -> None:
        """Count one response, with the times that its access record would have."""


class AccessObserver(Protocol):
    """Receives the record of each request."""

    def counter(self, method: str, route: str, service: str, status: int) -> ResponseCounter | None:
        """Return a counter of such responses that costs less than `record`; None if each response needs its record."""

    def record(self, access: AccessRecord) -> None:
        """Record one finished request."""
