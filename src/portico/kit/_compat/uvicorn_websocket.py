"""Private APIs of uvicorn, written for uvicorn 0.54: its protocol for WebSockets, which the kit's connections extend."""

import asyncio
from asyncio.events import TimerHandle
from typing import Any, ClassVar, Final

from portico.kit._compat import Library, require

with Library("uvicorn", "0.54").shape():
    from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

    require(WebSocketsSansIOProtocol, "send", "initial_response", "close_sent")
    require(WebSocketsSansIOProtocol, "handshake_initiated", "handshake_complete", "send_500_response")
    require(WebSocketsSansIOProtocol, "connection_made", "connection_lost", "data_received", "loop", "transport")

__all__ = ["WebSocketConnection"]

HANDSHAKE_SECONDS: Final = 60.0


class WebSocketConnection(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket, which accepts an HTTP response as the complete answer to a handshake, and waits a limited time.

    uvicorn's own protocol sends the response, and then logs an error about an app that never completed the handshake.

    Attributes:
        handshake_seconds: Seconds within which the app must accept or reject the handshake.
    """

    handshake_seconds: ClassVar[float] = HANDSHAKE_SECONDS

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._handshake_timer: TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._handshake_timer = self.loop.call_later(self.handshake_seconds, self._time_out)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.handshake_initiated and not self.handshake_complete:
            self.transport.close()  # a client must not send data before its handshake is accepted (RFC 6455 section 4.1)
            return
        super().data_received(data)

    async def send(self, message: Any) -> None:
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True
        if self.handshake_complete:
            self._stop_timer()

    def _time_out(self) -> None:
        self.send_500_response()
        self.transport.close()

    def _stop_timer(self) -> None:
        if self._handshake_timer is not None:
            self._handshake_timer.cancel()
            self._handshake_timer = None
