"""Connections to instances that send unusual or invalid responses."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from portico.gateway.upstreams import HttpUpstream, UpstreamRequest
from portico.gateway.upstreams.connection_pool import ConnectionPool
from portico.gateway.upstreams.http import open_session
from portico.kit.calls.addresses import InstanceAddress
from portico.kit.calls.directory import Directory
from portico.kit.calls.errors import CallFailed, CallTimedOut, ConnectionLost, ResponseInvalid, Unreachable
from portico.testing.clock import ManualClock

OK = b"HTTP/1.1 200 OK\r\n"
WHOLE = OK + b"content-length: 5\r\n\r\nhello"


class Raw(asyncio.Protocol):
    """Responds to each request with the next prepared bytes; None closes the connection."""

    def __init__(self, server: "RawServer") -> None:
        self.server = server

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.server.connections.append(self)

    def data_received(self, data: bytes) -> None:
        self.server.heard.append(data)
        for part in self.server.answers.pop(0):
            if part is None:
                self.transport.close()
            else:
                self.transport.write(part)


class RawServer:
    def __init__(self) -> None:
        self.answers: list[list[bytes | None]] = []
        self.heard: list[bytes] = []
        self.connections: list[Raw] = []


@pytest.fixture
def server() -> RawServer:
    return RawServer()


@pytest.fixture
async def upstream(server: RawServer) -> AsyncIterator[HttpUpstream]:
    listener = await asyncio.get_running_loop().create_server(lambda: Raw(server), "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    connections = ConnectionPool()
    directory = Directory({"raw": f"http://127.0.0.1:{port}"})
    async with open_session() as session:
        yield HttpUpstream("raw", directory, connections, session)
    connections.close()
    await directory.aclose()
    listener.close()
    for one in server.connections:
        one.transport.abort()


async def fetch(upstream: HttpUpstream, method: str = "GET", limit: float = 2.0) -> tuple[int, bytes]:
    answer = await upstream.send(UpstreamRequest(method, b"/x", b"a=1", [(b"x-note", b"1")], limit), set())
    try:
        return answer.status, b"".join([chunk async for chunk in answer.chunks()])
    finally:
        await answer.aclose()


class TestRequests:
    async def test_a_request_is_sent_unchanged(self, upstream: HttpUpstream, server: RawServer) -> None:
        server.answers = [[WHOLE]]
        await fetch(upstream)

        head, _, rest = server.heard[0].partition(b"\r\n")
        assert head == b"GET /x?a=1 HTTP/1.1"
        assert rest.startswith(b"host: 127.0.0.1:")
        assert rest.endswith(b"\r\nx-note: 1\r\n\r\n")

    async def test_a_post_without_body_declares_length_zero(self, upstream: HttpUpstream, server: RawServer) -> None:
        server.answers = [[WHOLE]]
        await fetch(upstream, "POST")

        assert b"content-length: 0\r\n" in server.heard[0]


class TestAnswers:
    async def test_trailers_do_not_become_header_fields(self, upstream: HttpUpstream, server: RawServer) -> None:
        server.answers = [[OK + b"transfer-encoding: chunked\r\n\r\n0\r\nset-cookie: a=b\r\nx-note: a\r\n\r\n"]]

        answer = await upstream.send(UpstreamRequest("GET", b"/x", b"", [], 2.0), set())
        body = [chunk async for chunk in answer.chunks()]
        await answer.aclose()

        assert (body, answer.headers) == ([], [(b"transfer-encoding", b"chunked")])

    async def test_values_have_no_white_space_behind_them(self, upstream: HttpUpstream, server: RawServer) -> None:
        server.answers = [[OK + b"content-length: 5 \r\nx-note: a \t\r\n\r\nhello"]]

        answer = await upstream.send(UpstreamRequest("GET", b"/x", b"", [], 2.0), set())
        await answer.aclose()

        assert answer.headers == [(b"content-length", b"5"), (b"x-note", b"a")]

    @pytest.mark.parametrize(
        "parts",
        [
            [WHOLE],
            [bytes([byte]) for byte in WHOLE],
            [b"HTTP/1.1 100 Continue\r\n\r\n" + WHOLE],
            [b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n", WHOLE],
            [OK + b"transfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=1\r\nllo\r\n0\r\n\r\n"],
            [OK + b"\r\nhello", None],
            [b"HTTP/1.0 200 OK\r\n\r\nhello", None],
        ],
    )
    async def test_a_body_is_read_with_every_kind_of_framing(
        self, upstream: HttpUpstream, server: RawServer, parts: list[bytes | None]
    ) -> None:
        server.answers = [parts]

        assert await fetch(upstream) == (200, b"hello")

    @pytest.mark.parametrize(
        ("parts", "failure"),
        [
            ([None], ConnectionLost),
            ([b"HTTP/1.1 200", None], ConnectionLost),
            ([OK + b"content-length: 9\r\n\r\nhello", None], ConnectionLost),
            ([OK + b"transfer-encoding: chunked\r\n\r\n9\r\nhello", None], ConnectionLost),
            ([b"SSH-2.0-OpenSSH\r\n"], ResponseInvalid),
            ([OK + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello"], ResponseInvalid),
            ([OK + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"], ResponseInvalid),
            ([b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"], ResponseInvalid),
            ([OK + b"x: " + b"y" * 70_000 + b"\r\n\r\n"], ResponseInvalid),
        ],
    )
    async def test_an_incomplete_or_invalid_response_is_a_failure(
        self, upstream: HttpUpstream, server: RawServer, parts: list[bytes | None], failure: type[CallFailed]
    ) -> None:
        server.answers = [parts]

        with pytest.raises(failure):
            await fetch(upstream)

    async def test_a_late_response_is_a_timeout(self, upstream: HttpUpstream, server: RawServer) -> None:
        server.answers = [[]]

        with pytest.raises(CallTimedOut):
            await fetch(upstream, limit=0.02)


class TestReuse:
    async def test_a_connection_serves_the_next_request(self, upstream: HttpUpstream, server: RawServer) -> None:
        server.answers = [[WHOLE], [WHOLE], [WHOLE]]
        for _ in range(3):
            await fetch(upstream)

        assert len(server.connections) == 1

    @pytest.mark.parametrize(
        ("method", "parts"),
        [
            ("GET", [OK + b"content-length: 5\r\nconnection: close\r\n\r\nhello"]),
            ("GET", [b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello"]),
            ("GET", [WHOLE + WHOLE]),
            ("GET", [WHOLE + b"garbage"]),
            ("HEAD", [OK + b"content-length: 5\r\n\r\n"]),
        ],
    )
    async def test_a_connection_with_leftover_data_is_not_reused(
        self, upstream: HttpUpstream, server: RawServer, method: str, parts: list[bytes | None]
    ) -> None:
        server.answers = [parts, [WHOLE]]
        await fetch(upstream, method)
        second = await fetch(upstream)

        assert second == (200, b"hello")
        assert len(server.connections) == 2

    async def test_an_unsolicited_response_is_discarded(self, upstream: HttpUpstream, server: RawServer) -> None:
        server.answers = [[WHOLE], [OK + b"content-length: 6\r\n\r\nsecond"]]
        await fetch(upstream)
        server.connections[0].transport.write(WHOLE)
        for _ in range(20):
            await asyncio.sleep(0)
        second = await fetch(upstream)

        assert second == (200, b"second")

    async def test_a_partly_read_response_closes_its_connection(
        self, upstream: HttpUpstream, server: RawServer
    ) -> None:
        server.answers = [[OK + b"content-length: 10\r\n\r\nhello"], [WHOLE]]
        answer = await upstream.send(UpstreamRequest("GET", b"/x", b"", [], 2.0), set())
        await answer.aclose()

        assert await fetch(upstream) == (200, b"hello")
        assert len(server.connections) == 2


class TestIdleConnections:
    @pytest.mark.parametrize("others", [0, 2])
    async def test_what_a_burst_has_opened_is_closed_while_one_connection_is_used_on(self, others: int) -> None:
        """`others` are connections to an instance that gets no further request."""
        clock = ManualClock()
        pool = ConnectionPool(clock.monotonic)
        loop = asyncio.get_running_loop()
        raw = await loop.create_server(lambda: Raw(RawServer()), "127.0.0.1", 0)
        port = raw.sockets[0].getsockname()[1]
        used, gone = (InstanceAddress("http", host, port, host) for host in ("127.0.0.1", "localhost"))
        wanted = [*[used] * 3, *[gone] * others]
        burst = [(await pool.take("raw", address), address) for address in wanted]
        for connection, address in burst:
            pool.put_back(address, connection)

        for _ in range(4):
            clock.advance(1)
            connection = await pool.take("raw", used)
            pool.put_back(used, connection)
        await asyncio.sleep(0)  # the transports report that they are closed

        assert [each.is_open for each, _ in burst] == [False, False, True, *[False] * others]
        pool.close()
        raw.close()


class TestConnecting:
    async def test_a_refused_connection_is_unreachable(self) -> None:
        directory = Directory({"raw": "http://127.0.0.1:1"})
        async with open_session() as session:
            upstream = HttpUpstream("raw", directory, ConnectionPool(), session)
            with pytest.raises(Unreachable):
                await fetch(upstream)
        await directory.aclose()
