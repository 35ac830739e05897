"""A WebSocket to a service in this process."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

from starlette.types import ASGIApp

from portico.gateway.request_head import Header
from portico.gateway.upstreams.base import CloseFrame, HandshakeRefused
from portico.kit.calls.errors import ConnectionLost
from portico.kit.telemetry.logs import get_logger

logger = get_logger(__name__)

Message = MutableMapping[str, Any]

QUEUE_SIZE = 16
ABNORMAL = 1006
INTERNAL_ERROR = 1011
MAX_REFUSAL_BYTES = 65536


class LocalWebSocket:
    """A WebSocket over two short queues. A writer waits while its queue is full."""

    def __init__(self, service: str) -> None:
        self.subprotocol: str | None = None
        self._service = service
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._to_app: asyncio.Queue[Message] = asyncio.Queue(QUEUE_SIZE)
        self._from_app: asyncio.Queue[str | bytes | CloseFrame] = asyncio.Queue(QUEUE_SIZE)
        self._disconnected = asyncio.Event()
        self._ended = False
        self._refusal: tuple[int, list[Header]] = (403, [])
        self._refusal_body = b""
        self._disconnect_message: Message = {"type": "websocket.disconnect", "code": ABNORMAL, "reason": ""}
        self._to_app.put_nowait({"type": "websocket.connect"})

    # Proxy side

    async def wait_opened(self) -> None:
        """Wait until the application accepts. Raises HandshakeRefused."""
        await self._opened

    async def send(self, message: str | bytes) -> None:
        if self._ended:
            raise ConnectionLost(self._service, "the WebSocket is closed")
        key = "text" if isinstance(message, str) else "bytes"
        await self._to_app.put({"type": "websocket.receive", key: message})

    async def receive(self) -> str | bytes | CloseFrame:
        return await self._from_app.get()

    async def aclose(self, code: int, reason: str) -> None:
        if not self._ended and not self._disconnected.is_set():
            self._disconnect_message = {"type": "websocket.disconnect", "code": code, "reason": reason}
        self.disconnect()

    def disconnect(self) -> None:
        """Send the application a disconnect, and discard further output."""
        self._disconnected.set()

    # Application side

    async def run(self, app: ASGIApp, scope: Message) -> None:
        """Call the application."""
        try:
            await app(scope, self._receive, self._send)
        except Exception as error:
            logger.exception("service_failed", service=self._service, error=type(error).__name__)
            self._refusal = (500, [])
        self._refuse()
        if not self._ended:
            self._ended = True
            await self._deliver(CloseFrame(INTERNAL_ERROR))
        self._disconnected.set()

    async def _receive(self) -> Message:
        # Messages that were sent before the disconnect are delivered first.
        if not self._to_app.empty():
            return self._to_app.get_nowait()
        message = asyncio.ensure_future(self._to_app.get())
        disconnected = asyncio.ensure_future(self._disconnected.wait())
        try:
            await asyncio.wait((message, disconnected), return_when=asyncio.FIRST_COMPLETED)
            return message.result() if message.done() else self._disconnect_message
        finally:
            message.cancel()
            disconnected.cancel()

    async def _send(self, message: Message) -> None:
        match message["type"]:
            case "websocket.accept":
                self.subprotocol = message.get("subprotocol")
                if not self._opened.done():
                    self._opened.set_result(None)
            case "websocket.send":
                text = message.get("text")
                await self._deliver(text if text is not None else message["bytes"])
            case "websocket.close":
                self._refuse()
                if not self._ended:
                    self._ended = True
                    await self._deliver(CloseFrame(message.get("code", 1000), message.get("reason") or ""))
            case "websocket.http.response.start":
                self._refusal = (message["status"], [(bytes(n).lower(), bytes(v)) for n, v in message["headers"]])
            case "websocket.http.response.body":
                self._refusal_body = (self._refusal_body + message.get("body", b""))[:MAX_REFUSAL_BYTES]
                if not message.get("more_body", False):
                    self._refuse()

    def _refuse(self) -> None:
        """Refuse the handshake if it is still open."""
        if not self._opened.done():
            self._ended = True
            self._opened.set_exception(HandshakeRefused(*self._refusal, self._refusal_body))

    async def _deliver(self, message: str | bytes | CloseFrame) -> None:
        """Deliver a message to the proxy, unless it disconnects before the queue has room."""
        if self._disconnected.is_set():
            return
        if not self._from_app.full():
            self._from_app.put_nowait(message)
            return
        putting = asyncio.ensure_future(self._from_app.put(message))
        disconnected = asyncio.ensure_future(self._disconnected.wait())
        await asyncio.wait((putting, disconnected), return_when=asyncio.FIRST_COMPLETED)
        putting.cancel()
        disconnected.cancel()
