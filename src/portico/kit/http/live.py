"""One WebSocket as an endpoint sees it: it is accepted, told things, and ended."""

import asyncio
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
from pydantic import BaseModel
from starlette.types import Message, Receive, Send

from portico.kit.foundation.problems import Unavailable
from portico.kit.http.schema import Case
from portico.kit.settings.values import Rate

# RFC 6455 section 7.4.1
NORMAL = 1000
REFUSED = 1008
TOO_BIG = 1009
INTERNAL_ERROR = 1011
RESTARTING = 1012  # of IANA's registry of close codes: the service restarts

SWITCHED = 101  # RFC 9110 section 15.2.2
_CALLER_LEFT = 499
_FORBIDDEN = 403
_SEND_WITHIN = 20.0  # seconds that a client may take to read what it was sent
_LONGEST_REASON = 123  # bytes that fit into a close frame (RFC 6455 section 5.5)


class TooManyStreams(Unavailable):
    detail = "The limit of open streams is reached. Close one, or retry in {retry_after:.0f} seconds."


class OpenSockets:
    """How many WebSockets a service has open, in all and of each caller.

    Args:
        most: of all callers.
        most_each: of one caller.
    """

    def __init__(self, most: int, most_each: int) -> None:
        self._most = most
        self._most_each = most_each
        self._open: Counter[str] = Counter()

    @property
    def open(self) -> int:
        """How many there are."""
        return self._open.total()

    @contextmanager
    def one_of(self, caller: str) -> Iterator[None]:
        """A place for one more. Raises TooManyStreams."""
        if self.open >= self._most or self._open[caller] >= self._most_each:
            raise TooManyStreams
        self._open[caller] += 1
        try:
            yield
        finally:
            self._open[caller] -= 1
            if not self._open[caller]:
                del self._open[caller]


class Handshake:
    """Remembers how a handshake was answered: `status` is 499 until it was."""

    __slots__ = ("_send", "status")

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = _CALLER_LEFT

    async def send(self, message: Message) -> None:
        match message["type"]:
            case "websocket.accept":
                self.status = SWITCHED
            case "websocket.http.response.start":
                self.status = message["status"]
            case "websocket.close" if self.status == _CALLER_LEFT:
                self.status = _FORBIDDEN  # what a server makes of it (ASGI, WebSocket close)
        await self._send(message)


class Unheard(Exception):
    """The client is gone, or reads so slowly that it is given up."""


class LiveSocket:
    """The server's side of one WebSocket.

    What the client says is counted, measured and dropped: these streams tell. Pings are the server's own.

    Args:
        receive: of ASGI.
        send: of ASGI.
        case: how the system spells.
        within: the limit of the time until it is accepted.
        longest: bytes that a message of the client may have.
        rate: how many messages the client may send.
    """

    def __init__(
        self, receive: Receive, send: Send, *, case: Case, within: asyncio.Timeout, longest: int, rate: Rate
    ) -> None:
        self._receive = receive
        self._send = send
        self._case = case
        self._within = within
        self._longest = longest
        self._rate = rate
        self._heard: deque[float] = deque(maxlen=rate.limit)
        self.accepted = False
        self._closed = False

    async def begin(self) -> None:
        """Wait for the handshake. Raises Unheard where the client is gone already."""
        if (await self._receive())["type"] != "websocket.connect":
            raise Unheard

    async def accept(self) -> None:
        """Answer the handshake; until then a problem that is raised is an ordinary HTTP answer."""
        self._within.reschedule(None)
        self.accepted = True
        await self._sent({"type": "websocket.accept"})

    async def send(self, message: BaseModel | dict[str, Any]) -> None:
        """Tell the client `message`, as JSON in the system's spelling. Raises Unheard."""
        document = (
            message.model_dump(mode="json", by_alias=self._case == "camel")
            if isinstance(message, BaseModel)
            else message
        )
        await self._sent({"type": "websocket.send", "text": orjson.dumps(document).decode()})

    async def close(self, code: int, reason: str = "") -> None:
        """End the connection, once; before it was accepted there is nothing to end."""
        if self._closed or not self.accepted:
            return
        self._closed = True
        cut = reason.encode()[:_LONGEST_REASON].decode("utf-8", "ignore")
        await self._sent({"type": "websocket.close", "code": code, "reason": cut})

    async def drain(self) -> None:
        """Read what the client says until it leaves, says too much or too often."""
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                self._closed = True
                return
            if _size_of(message) > self._longest:
                await self.close(TOO_BIG, f"a message has at most {self._longest} bytes")
                return
            if self._is_too_often():
                await self.close(REFUSED, f"at most {self._rate.limit} messages in {self._rate.window} s")
                return

    def _is_too_often(self) -> bool:
        now = asyncio.get_running_loop().time()
        full = len(self._heard) == self._rate.limit and now - self._heard[0] < self._rate.window
        self._heard.append(now)
        return full

    async def _sent(self, message: Message) -> None:
        try:
            async with asyncio.timeout(_SEND_WITHIN):
                await self._send(message)
        except (TimeoutError, OSError) as error:
            self._closed = True
            raise Unheard from error


def _size_of(message: Message) -> int:
    text = message.get("text")
    return len(message.get("bytes") or b"") if text is None else len(text.encode())
