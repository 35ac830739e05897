"""Upstreams whose answers the test decides."""

from collections.abc import AsyncGenerator

from portico.gateway.request_head import Header
from portico.gateway.upstreams import UpstreamRequest, UpstreamResponse, UpstreamWebSocket
from portico.kit.calls.errors import Unreachable


class StubResponse:
    """An answer that is there already."""

    def __init__(self, status: int, body: bytes = b"", headers: list[Header] | None = None) -> None:
        self.status = status
        self.headers = headers or []
        self._body = body

    async def chunks(self) -> AsyncGenerator[bytes]:
        yield self._body

    async def aclose(self) -> None:
        """There is nothing to let go of."""


class StubUpstream:
    """Answers the same each time, and counts; None is unreachable."""

    several = False

    def __init__(self, answer: StubResponse | None) -> None:
        self.answer = answer
        self.requests: list[UpstreamRequest] = []

    async def send(self, request: UpstreamRequest, tried: set[str]) -> UpstreamResponse:
        self.requests.append(request)
        if self.answer is None:
            raise Unreachable("standing", "the test says so")
        return self.answer

    async def connect(self, request: UpstreamRequest) -> UpstreamWebSocket:
        raise Unreachable("standing", "no sockets here")

    async def aclose(self) -> None:
        """There is nothing to close."""
