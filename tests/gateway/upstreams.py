"""Upstreams whose answers the test decides."""

from collections.abc import AsyncGenerator

from portico.gateway.request_head import Header
from portico.gateway.upstreams import Answer, Sending, Tunnel
from portico.kit.calls.errors import Unreachable


class Given:
    """An answer that is there already."""

    def __init__(self, status: int, body: bytes = b"", headers: list[Header] | None = None) -> None:
        self.status = status
        self.headers = headers or []
        self._body = body

    async def chunks(self) -> AsyncGenerator[bytes]:
        yield self._body

    async def aclose(self) -> None:
        """There is nothing to let go of."""


class Standing:
    """Answers the same each time, and counts; None is unreachable."""

    several = False

    def __init__(self, answer: Given | None) -> None:
        self.answer = answer
        self.asked: list[Sending] = []

    async def send(self, request: Sending, tried: set[str]) -> Answer:
        self.asked.append(request)
        if self.answer is None:
            raise Unreachable("standing", "the test says so")
        return self.answer

    async def connect(self, request: Sending) -> Tunnel:
        raise Unreachable("standing", "no sockets here")

    async def aclose(self) -> None:
        """There is nothing to close."""
