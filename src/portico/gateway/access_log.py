"""What is told of each request once it is over."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(slots=True)
class Record:
    """One request.

    Args:
        method: As in the request; WEBSOCKET for a handshake.
        path: As the client sent it, without the query (which may hold a ticket).
        route: The template; "unmatched" where there is none, "own" for what the gateway answers itself.
        service: Who answered; None where the gateway refused or answered itself.
        status: The answer's; 499 where the client left before it began, 101 for an opened WebSocket.
        seconds: From its head to the end of its answer.
        waited: Seconds until the service's answer began.
        tries: How often a service was asked.
        end: How it ended, in a word.
        limited: Whether the rate refused it.
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
    waited: float = 0.0
    tries: int = 0
    end: str = "complete"
    limited: bool = False


class Observer(Protocol):
    """Takes note of requests."""

    def finished(self, record: Record) -> None: ...
