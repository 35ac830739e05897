"""A request's body on its way up, chunk by chunk."""

from collections.abc import Callable
from typing import Self

from starlette.types import Receive

from portico.gateway.upstreams.base import UploadBroken


class Upload:
    """Hands on what the client sends; holds one chunk at a time.

    Args:
        receive: The ASGI callable that gives the chunks.
        limit: Bytes that the body may have.
        on_broken: Told as soon as it is clear that the body won't be whole.
    """

    __slots__ = ("_limit", "_on_broken", "_receive", "_size", "begun", "broken", "finished", "too_large")

    def __init__(self, receive: Receive, limit: int, on_broken: Callable[[], None]) -> None:
        self._receive = receive
        self._limit = limit
        self._on_broken = on_broken
        self._size = 0
        self.begun = False
        self.broken = False
        self.finished = False
        self.too_large = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        self.begun = True
        while not self.finished:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._break()
            chunk: bytes = message.get("body", b"")
            self._size += len(chunk)
            if self._size > self._limit:
                self.too_large = True
                self._break()
            self.finished = not message.get("more_body", False)
            if chunk:
                return chunk
        raise StopAsyncIteration

    def _break(self) -> None:
        self.broken = True
        self._on_broken()
        raise UploadBroken
