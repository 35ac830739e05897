"""Upstreams with prepared responses."""

from collections.abc import AsyncGenerator

from portico.gateway.request_head import Header
from portico.gateway.upstreams import UpstreamRequest, UpstreamResponse, UpstreamWebSocket
from portico.kit.calls.errors import Unreachable
from portico.kit.foundation.stream_connection import StreamConnection, StreamSource


class StubResponse:
    """A complete response."""

    def __init__(self, status: int, body: bytes = b"", headers: list[Header] | None = None) -> None:
        self.status = status
        self.headers = headers or []
        self._body = body

    async def chunks(self) -> AsyncGenerator[bytes]:
        yield self._body

    may_redirect = False

    def redirect(self, target: StreamConnection) -> StreamSource:
        raise NotImplementedError

    async def aclose(self) -> None:
        """Do nothing."""


class StubUpstream:
    """Returns the same response to each request and records the requests. None is unreachable."""

    has_alternatives = False

    def __init__(self, answer: StubResponse | None) -> None:
        self.answer = answer
        self.requests: list[UpstreamRequest] = []

    async def send(self, request: UpstreamRequest, tried: set[str]) -> UpstreamResponse:
        self.requests.append(request)
        if self.answer is None:
            raise Unreachable("stub", "prepared failure")
        return self.answer

    async def connect(self, request: UpstreamRequest) -> UpstreamWebSocket:
        raise Unreachable("stub", "no WebSockets")

    async def aclose(self) -> None:
        """Do nothing."""
