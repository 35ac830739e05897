"""HTTP connections: uvicorn's protocol with limits whose violations are problem documents."""

import asyncio
import secrets
import sys
from collections.abc import Iterable
from http import HTTPStatus
from typing import ClassVar

from portico.kit._compat.uvicorn import HeadFault, LimitedHttpProtocol, WebSocketConnection
from portico.kit.foundation.problems import BadRequest, Problem
from portico.kit.foundation.shares import Shares, TooManyAtOnce
from portico.kit.http.client_info import address_key, parse_address
from portico.kit.http.problems import MEDIA_TYPE, problem_bytes
from portico.kit.settings.values import Network


class HeadTooLong(Problem):
    status = 431
    detail = "The head of the request, or the data between its chunks, is longer than {limit} bytes."

    limit: int


class HeadTooSlow(Problem):
    status = 408
    detail = "The head of the request was not complete within {seconds:.0f} seconds."

    seconds: float


class TooManyConnections(TooManyAtOnce):
    """An address has its share of the connections of a port."""

    detail = "This address has too many open connections. Close some, or retry in {retry_after:.0f} seconds."


class OpenConnections:
    """The open connections of a port, counted by address. WebSockets are included.

    Args:
        limit_each: maximum per address.
        exempt: networks whose connections are not counted: proxies, which connect for many clients.
    """

    def __init__(self, limit_each: int, exempt: Iterable[Network]) -> None:
        self._shares = Shares(sys.maxsize, limit_each, exceeded=TooManyConnections)
        self._exempt = tuple(exempt)
        self._holders: dict[asyncio.Transport, str] = {}

    def add(self, transport: asyncio.Transport, host: str) -> None:
        """Count a connection. Raises TooManyConnections."""
        address = parse_address(host)
        if address is None or any(address in network for network in self._exempt):
            return
        holder = address_key(host)
        self._shares.take(holder)
        self._holders[transport] = holder

    def remove(self, transport: asyncio.Transport) -> None:
        """Stop counting a connection, which is closed."""
        if (holder := self._holders.pop(transport, None)) is not None:
            self._shares.release(holder)


class CountedWebSocket(WebSocketConnection):
    """WebSocket that was counted as a connection."""

    open_connections: ClassVar[OpenConnections | None] = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self.open_connections is not None:
            self.open_connections.remove(self.transport)
        super().connection_lost(exc)


class LimitedConnection(LimitedHttpProtocol):
    """HTTP/1.1 connection with limits for size and time of a request's head, and for the number of connections.

    Attributes:
        open_connections: counts the connections of the port; None counts none.
    """

    open_connections: ClassVar[OpenConnections | None] = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        if self.open_connections is None or self.client is None:
            return
        try:
            self.open_connections.add(transport, self.client[0])
        except TooManyConnections as problem:
            transport.write(self._whole(problem))
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.open_connections is not None:
            self.open_connections.remove(self.transport)
        super().connection_lost(exc)

    def rejection(self, fault: HeadFault) -> bytes:
        """Return a problem document as a whole HTTP response that closes the connection."""
        return self._whole(self._problem(fault))

    def _whole(self, problem: Problem) -> bytes:
        body = problem_bytes(problem, instance="", request_id=secrets.token_hex(8))
        status = HTTPStatus(problem.status)
        fields = "".join(f"{name}: {value}\r\n" for name, value in problem.headers.items())
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
            f"{fields}cache-control: no-store\r\nconnection: close\r\n\r\n"
        )
        return head.encode() + body

    def _problem(self, fault: HeadFault) -> Problem:
        match fault:
            case HeadFault.TOO_LONG:
                return HeadTooLong(limit=self.max_head)
            case HeadFault.TOO_SLOW:
                return HeadTooSlow(seconds=self.head_seconds)
            case HeadFault.MALFORMED:
                return BadRequest(reason="it is not HTTP/1.1")
