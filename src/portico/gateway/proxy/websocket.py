"""Forwarding of one WebSocket: messages pass both ways until either side closes."""

import asyncio
from contextlib import suppress

from starlette.types import Receive, Send

from portico.gateway.upstreams.base import CloseFrame, UpstreamWebSocket
from portico.kit.calls.errors import ConnectionLost

NORMAL = 1000
GOING_AWAY = 1001
NO_STATUS = 1005
ABNORMAL = 1006
TLS_FAILED = 1015
INTERNAL_ERROR = 1011
# These codes must not be sent: they mean that no code was received (RFC 6455 section 7.4.1).
UNSENDABLE = {NO_STATUS: NORMAL, ABNORMAL: GOING_AWAY, TLS_FAILED: GOING_AWAY}
SHUTTING_DOWN = CloseFrame(GOING_AWAY, "the gateway is shutting down")


class WebSocketBridge:
    """Passes messages between a client and a service.

    Args:
        upstream: The open WebSocket to the service.
        receive: ASGI `receive` of the accepted client.
        send: ASGI `send` of the accepted client.
    """

    def __init__(self, upstream: UpstreamWebSocket, receive: Receive, send: Send) -> None:
        self._upstream = upstream
        self._receive = receive
        self._send = send
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Close both sides, because the gateway shuts down."""
        self._stopping.set()

    async def run(self) -> None:
        """Pass messages until one side ends, then end the other."""
        up = asyncio.create_task(self._up())
        down = asyncio.create_task(self._down())
        stopping = asyncio.create_task(self._stopping.wait())
        tasks = (up, down, stopping)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            await self._close(*results[:2])

    async def _close(self, up: object, down: object) -> None:
        if not isinstance(up, CloseFrame):
            await self._close_client(down if isinstance(down, CloseFrame) else SHUTTING_DOWN)
        frame = up if isinstance(up, CloseFrame) else SHUTTING_DOWN
        await self._upstream.aclose(UNSENDABLE.get(frame.code, frame.code), frame.reason)

    async def _up(self) -> CloseFrame:
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                return CloseFrame(message.get("code", ABNORMAL), message.get("reason") or "")
            text = message.get("text")
            try:
                await self._upstream.send(text if text is not None else message["bytes"])
            except ConnectionLost:
                await asyncio.Event().wait()  # the service closed the WebSocket; `_down` reads the close frame

    async def _down(self) -> CloseFrame:
        while True:
            message = await self._upstream.receive()
            if isinstance(message, CloseFrame):
                return message
            key = "text" if isinstance(message, str) else "bytes"
            await self._send({"type": "websocket.send", key: message})

    async def _close_client(self, frame: CloseFrame) -> None:
        code = INTERNAL_ERROR if frame.code == ABNORMAL else UNSENDABLE.get(frame.code, frame.code)
        with suppress(OSError):  # the client has already disconnected
            await self._send({"type": "websocket.close", "code": code, "reason": frame.reason})
