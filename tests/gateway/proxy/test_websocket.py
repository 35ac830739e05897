import asyncio
from typing import Any

from starlette.types import Message

from portico.gateway.proxy.websocket import WebSocketBridge
from portico.gateway.upstreams.base import CloseFrame


class SilentService:
    """A service's side on which nothing comes, and which remembers how it was closed."""

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
    raise OSError  # as ASGI says of a client that left


class TestAClientThatLeftWithoutAWord:
    async def test_is_no_error_when_a_message_was_for_it(self) -> None:
        service = SilentService("news")

        await WebSocketBridge(service, nothing, gone).run()

        assert service.closed == [(1001, "the gateway is shutting down")]

    async def test_is_no_error_when_the_service_says_goodbye(self) -> None:
        service = SilentService(CloseFrame(1000, "over"))

        await WebSocketBridge(service, nothing, gone).run()

        assert len(service.closed) == 1
