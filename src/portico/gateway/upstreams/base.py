"""What every upstream offers. A plane can't tell one from another."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Protocol

from portico.gateway.request_head import Header


class Body(Protocol):
    """A request's body on its way up, read once."""

    broken: bool

    def __aiter__(self) -> "Body": ...

    async def __anext__(self) -> bytes:
        """The next chunk. Raises UploadBroken, and says so in `broken` for who only sees what became of it."""


@dataclass(slots=True)
class Sending:
    """A request on its way up.

    Args:
        path: As the client sent it.
        headers: Names in lower case; without Host.
        timeout: Seconds until the answer must have begun.
        body: Its chunks as they come; None where there is none.
        subprotocols: What a WebSocket handshake offers.
    """

    method: str
    path: bytes
    query: bytes
    headers: list[Header]
    timeout: float
    body: Body | None = None
    subprotocols: list[str] = field(default_factory=list)


class Answer(Protocol):
    """An answer that has begun. Whoever has it closes it."""

    status: int
    headers: list[Header]

    def chunks(self) -> AsyncGenerator[bytes]:
        """The body as it comes. Raises ConnectionLost where it breaks off."""

    async def aclose(self) -> None:
        """Let go: of the rest of the body too, where it was not read to its end."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The other side of a WebSocket said goodbye."""

    code: int = 1005
    reason: str = ""


class Tunnel(Protocol):
    """An open WebSocket to a service."""

    subprotocol: str | None

    async def send(self, message: str | bytes) -> None:
        """Pass one message on. Raises ConnectionLost."""

    async def receive(self) -> str | bytes | Closed:
        """The service's next message, or how it ended."""

    async def aclose(self, code: int, reason: str) -> None:
        """Say goodbye and let go."""


class HandshakeRefused(Exception):
    """The service answered a WebSocket handshake with an ordinary answer.

    Args:
        status: Its status.
        headers: Its header fields.
        body: Its body, cut off where it is larger than any refusal needs.
    """

    def __init__(self, status: int, headers: list[Header], body: bytes) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers
        self.body = body


class UploadBroken(Exception):
    """The request's body can't go on: its client is gone, or it is too large. The plane knows which."""


class Upstream(Protocol):
    """One service, in however many instances.

    Failures are those of `portico.kit.calls.errors`: Unreachable where nothing was sent, ConnectionLost and
    CallTimedOut where nobody knows what was done, AnswerInvalid where the answer can't be read.
    """

    async def send(self, request: Sending, tried: set[str]) -> Answer:
        """Send a request and wait until its answer begins.

        Args:
            request: What to send.
            tried: The instances to avoid; the one that is asked is added.
        """

    async def connect(self, request: Sending) -> Tunnel:
        """Open a WebSocket. Raises HandshakeRefused where the service says no."""

    @property
    def several(self) -> bool:
        """Whether there is another instance to ask when one fails."""

    async def aclose(self) -> None:
        """Close what is open."""
