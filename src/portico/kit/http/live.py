"""Server side of one WebSocket: accept, send, limit and close."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from pydantic import BaseModel
from starlette.types import Message, Receive, Send

from portico.kit.foundation.aio import wait_for_event
from portico.kit.foundation.problems import Unavailable
from portico.kit.http.schema import Case
from portico.kit.settings.values import Rate

# RFC 6455 section 7.4.1
NORMAL = 1000
REFUSED = 1008
TOO_BIG = 1009
INTERNAL_ERROR = 1011
RESTARTING = 1012  # IANA registry of close codes: service restart

SWITCHED = 101  # RFC 9110 section 15.2.2
_CLIENT_CLOSED_REQUEST = 499
_FORBIDDEN = 403
_SEND_WITHIN = 20.0  # time limit (seconds) for a client to read a message
_MAX_REASON_LENGTH = 123  # maximum number of bytes in a close frame (RFC 6455 section 5.5)


class TooManyStreams(Unavailable):
    detail = "The limit of open streams is reached. Close one or retry in {retry_after:.0f} seconds."


class Handshake:
    """Records the response to a handshake. `status` is 499 until then."""

    __slots__ = ("_send", "status")

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = _CLIENT_CLOSED_REQUEST

    async def send(self, message: Message) -> None:
        match message["type"]:
            case "websocket.accept":
                self.status = SWITCHED
            case "websocket.http.response.start":
                self.status = message["status"]
            case "websocket.close" if self.status == _CLIENT_CLOSED_REQUEST:
                self.status = _FORBIDDEN  # servers answer a close before accept with 403 (ASGI, WebSocket close)
        await self._send(message)


class ClientGone(Exception):
    """The client has disconnected, or reads too slowly."""


class LiveSocket:
    """Server side of one WebSocket.

    The streams only send. Messages of the client are counted, limited in size and dropped. The ASGI server sends pings.

    Args:
        receive: ASGI receive.
        send: ASGI send.
        case: case of the system's JSON.
        within: time-out of the handshake.
        max_bytes: maximum size (bytes) of a client's message.
        rate: how many messages the client may send.
    """

    def __init__(
        self, receive: Receive, send: Send, *, case: Case, within: asyncio.Timeout, max_bytes: int, rate: Rate
    ) -> None:
        self._receive = receive
        self._send = send
        self._case = case
        self._within = within
        self._max_bytes = max_bytes
        self._rate = rate
        self._received_at: deque[float] = deque(maxlen=rate.limit)
        self.accepted = False
        self._closed = False

    async def begin(self) -> None:
        """Wait for the handshake. Raises ClientGone if the client has disconnected."""
        if (await self._receive())["type"] != "websocket.connect":
            raise ClientGone

    async def accept(self) -> None:
        """Accept the connection. Problems raised before this call become ordinary HTTP responses."""
        self._within.reschedule(None)
        self.accepted = True
        await self._send_in_time({"type": "websocket.accept"})

    async def send(self, message: BaseModel | dict[str, Any]) -> None:
        """Send `message` as JSON in the system's case. Raises ClientGone."""
        document = (
            message.model_dump(mode="json", by_alias=self._case == "camel")
            if isinstance(message, BaseModel)
            else message
        )
        await self._send_in_time({"type": "websocket.send", "text": orjson.dumps(document).decode()})

    async def send_changes(
        self,
        read: Callable[[], Awaitable[Any]],
        message_of: Callable[[Any], BaseModel],
        *,
        changed: asyncio.Event,
        poll: float,
        is_final: Callable[[Any], bool],
    ) -> None:
        """Send a row at once, and after each change of its `revision`, until it is final or deleted. Raises ClientGone.

        Args:
            read: returns the row; None if it does not exist.
            message_of: converts the row to a message.
            changed: is set by changes of this process, see `ChangeNotifier.follow`.
            poll: how often (seconds) the row is read to find changes of other processes.
            is_final: returns whether the row cannot change any more.
        """
        sent = 0
        while (row := await read()) is not None:
            if row.revision != sent:
                await self.send(message_of(row))
                sent = row.revision
            if is_final(row):
                return
            await wait_for_event(changed, poll)
            changed.clear()

    async def close(self, code: int, reason: str = "") -> None:
        """Close the connection once. Do nothing before it is accepted."""
        if self._closed or not self.accepted:
            return
        self._closed = True
        cut = reason.encode()[:_MAX_REASON_LENGTH].decode("utf-8", "ignore")
        await self._send_in_time({"type": "websocket.close", "code": code, "reason": cut})

    async def drain(self) -> None:
        """Read messages until the client disconnects or exceeds a limit."""
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                self._closed = True
                return
            if _size_of(message) > self._max_bytes:
                await self.close(TOO_BIG, f"a message has at most {self._max_bytes} bytes")
                return
            if self._exceeds_rate():
                await self.close(REFUSED, f"at most {self._rate.limit} messages in {self._rate.window} s")
                return

    def _exceeds_rate(self) -> bool:
        now = asyncio.get_running_loop().time()
        full = len(self._received_at) == self._rate.limit and now - self._received_at[0] < self._rate.window
        self._received_at.append(now)
        return full

    async def _send_in_time(self, message: Message) -> None:
        try:
            async with asyncio.timeout(_SEND_WITHIN):
                await self._send(message)
        except (TimeoutError, OSError) as error:
            self._closed = True
            raise ClientGone from error


def _size_of(message: Message) -> int:
    text = message.get("text")
    return len(message.get("bytes") or b"") if text is None else len(text.encode())
