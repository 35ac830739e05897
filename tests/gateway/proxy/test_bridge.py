import asyncio
from typing import Any

from starlette.types import Message

from portico.gateway.proxy.websocket import Bridge
from portico.gateway.upstreams.base import Closed


class SilentService:
    """A service's side on which nothing comes, and which remembers how it was closed."""

    subprotocol = None

    def __init__(self, *messages: str | Closed) -> None:
        self._messages = list(messages)
        self.closed: list[tuple[int, str]] = []

    async def send(self, message: str | bytes) -> None:
        raise AssertionError(message)

    async def receive(self) -> str | bytes | Closed:
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

        await Bridge(service, nothing, gone).run()

        assert service.closed == [(1001, "the gateway stops")]

    async def test_is_no_error_when_the_service_says_goodbye(self) -> None:
        service = SilentService(Closed(1000, "over"))

        await Bridge(service, nothing, gone).run()

        assert len(service.closed) == 1
