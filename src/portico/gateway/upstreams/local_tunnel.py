"""One WebSocket to an app in this process."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

from starlette.types import ASGIApp

from portico.gateway.request_head import Header
from portico.gateway.upstreams.base import Closed, HandshakeRefused
from portico.kit.calls.errors import ConnectionLost
from portico.kit.telemetry.logs import get_logger

log = get_logger(__name__)

Message = MutableMapping[str, Any]

QUEUED = 16
ABNORMAL = 1006
INTERNAL_ERROR = 1011
MOST_REFUSAL = 65536


class LocalTunnel:
    """Two queues of a few messages each: whoever writes faster than the other reads waits."""

    def __init__(self, service: str) -> None:
        self.subprotocol: str | None = None
        self._service = service
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._to_app: asyncio.Queue[Message] = asyncio.Queue(QUEUED)
        self._from_app: asyncio.Queue[str | bytes | Closed] = asyncio.Queue(QUEUED)
        self._left = asyncio.Event()
        self._ended = False
        self._refusal: tuple[int, list[Header]] = (403, [])
        self._refusal_body = b""
        self._to_app.put_nowait({"type": "websocket.connect"})

    # The plane's side

    async def opened(self) -> None:
        """Wait until the app accepts. Raises HandshakeRefused."""
        await self._opened

    async def send(self, message: str | bytes) -> None:
        if self._ended:
            raise ConnectionLost(self._service, "the WebSocket is closed")
        key = "text" if isinstance(message, str) else "bytes"
        await self._to_app.put({"type": "websocket.receive", key: message})

    async def receive(self) -> str | bytes | Closed:
        return await self._from_app.get()

    async def aclose(self, code: int, reason: str) -> None:
        if not self._ended and not self._left.is_set():
            self._goodbye = {"type": "websocket.disconnect", "code": code, "reason": reason}
        self.leave()

    def leave(self) -> None:
        """The app sees a disconnect as soon as it reads again; what it still writes is dropped."""
        self._left.set()

    # The app's side

    _goodbye: Message = {"type": "websocket.disconnect", "code": ABNORMAL, "reason": ""}  # noqa: RUF012 - never changed

    async def run(self, app: ASGIApp, scope: Message) -> None:
        """Call the app, in a task of its own."""
        try:
            await app(scope, self._receive, self._send)
        except Exception as error:
            log.exception("app_failed", service=self._service, error=type(error).__name__)
            self._refusal = (500, [])
        self._refuse()
        if not self._ended:
            self._ended = True
            await self._hand_over(Closed(INTERNAL_ERROR))
        self._left.set()

    async def _receive(self) -> Message:
        # What was sent before the goodbye is read before it.
        if not self._to_app.empty():
            return self._to_app.get_nowait()
        message = asyncio.ensure_future(self._to_app.get())
        left = asyncio.ensure_future(self._left.wait())
        try:
            await asyncio.wait((message, left), return_when=asyncio.FIRST_COMPLETED)
            return message.result() if message.done() else self._goodbye
        finally:
            message.cancel()
            left.cancel()

    async def _send(self, message: Message) -> None:
        match message["type"]:
            case "websocket.accept":
                self.subprotocol = message.get("subprotocol")
                if not self._opened.done():
                    self._opened.set_result(None)
            case "websocket.send":
                text = message.get("text")
                await self._hand_over(text if text is not None else message["bytes"])
            case "websocket.close":
                self._refuse()
                if not self._ended:
                    self._ended = True
                    await self._hand_over(Closed(message.get("code", 1000), message.get("reason") or ""))
            case "websocket.http.response.start":
                self._refusal = (message["status"], [(bytes(n).lower(), bytes(v)) for n, v in message["headers"]])
            case "websocket.http.response.body":
                self._refusal_body = (self._refusal_body + message.get("body", b""))[:MOST_REFUSAL]
                if not message.get("more_body", False):
                    self._refuse()

    def _refuse(self) -> None:
        """Answer the handshake with a refusal, where it has no answer yet."""
        if not self._opened.done():
            self._ended = True
            self._opened.set_exception(HandshakeRefused(*self._refusal, self._refusal_body))

    async def _hand_over(self, message: str | bytes | Closed) -> None:
        """Give the plane a message, unless it leaves before there is room."""
        if self._left.is_set():
            return
        if not self._from_app.full():
            self._from_app.put_nowait(message)
            return
        putting = asyncio.ensure_future(self._from_app.put(message))
        left = asyncio.ensure_future(self._left.wait())
        await asyncio.wait((putting, left), return_when=asyncio.FIRST_COMPLETED)
        putting.cancel()
        left.cancel()
