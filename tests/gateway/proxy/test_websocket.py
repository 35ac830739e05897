import asyncio
from typing import Any

from starlette.types import Message

from portico.gateway.proxy.websocket import WebSocketBridge
from portico.gateway.upstreams.base import CloseFrame


class SilentService:
    """An upstream WebSocket with prepared messages that records how it was closed."""

    subprotocol = None

    def __init__(self, *messages: str | CloseFrame) -> None:
        self._messages = list(messages)
        self.closed: list[tuple[int, str]] = []

    async def send(self, message: str | bytes) -> None:
        raise AssertionError(message)

    async def receive(self) -> str | bytes | CloseFrame:
        if self._messages:
            return self._messages.pop(0)
        await asyncio.Event().wait()
        raise AssertionError

    async def aclose(self, code: int, reason: str) -> None:
        self.closed.append((code, reason))


async def nothing() -> Any:
    await asyncio.Event().wait()


async def gone(_message: Message) -> None:
    raise OSError  # how ASGI reports a disconnected client


class TestClientDisconnect:
    async def test_is_no_error_while_a_message_is_sent(self) -> None:
        service = SilentService("news")

        await WebSocketBridge(service, nothing, gone).run()

        assert service.closed == [(1001, "the gateway is shutting down")]

    async def test_is_no_error_when_the_service_closes(self) -> None:
        service = SilentService(CloseFrame(1000, "over"))

        await WebSocketBridge(service, nothing, gone).run()

        assert len(service.closed) == 1
