import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from portico.kit._compat.uvicorn_server import protocol_factory
from portico.kit._compat.uvicorn_websocket import WebSocketConnection
from portico.kit.runtime.uvicorn_protocols import LimitedConnection

LIMIT = 4096
HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
WHOLE = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class ManualTimers:
    """An event loop whose timers run only when the test advances the time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._now = 0.0
        self._timers: list[tuple[float, asyncio.Handle]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def call_later(self, delay: float, callback: Callable[..., object], *arguments: Any) -> asyncio.Handle:
        handle = asyncio.Handle(callback, arguments, self._loop)
        self._timers.append((self._now + delay, handle))
        return handle

    def advance(self, seconds: float) -> None:
        self._now += seconds
        due = [handle for at, handle in self._timers if at <= self._now and not handle.cancelled()]
        self._timers = [(at, handle) for at, handle in self._timers if at > self._now]
        for handle in due:
            handle._run()


class Limited(LimitedConnection):
    """A connection with a small limit that reports when it received something."""

    max_head = LIMIT

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.connected = asyncio.Event()
        self.received = asyncio.Event()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn declares it
        super().connection_made(transport)
        self.connected.set()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.received.set()


class Client:
    """A peer that sends any bytes.

    Args:
        reader: Reads responses.
        writer: Sends requests.
        connection: The server's side of the connection.
        timers: The timers of the server.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: Limited, timers: ManualTimers
    ) -> None:
        self.reader = reader
        self.writer = writer
        self.connection = connection
        self.timers = timers

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def send_and_wait(self, data: bytes) -> None:
        """Send bytes and wait until the server has received them."""
        self.connection.received.clear()
        await self.send(data)
        await self.connection.received.wait()

    def let_head_time_pass(self) -> None:
        """Advance the server's time by what a head may take."""
        self.timers.advance(Limited.head_seconds)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        return int(head[0].split()[1]), fields, await self.reader.readexactly(int(fields["content-length"]))

    async def is_closed(self) -> bool:
        try:
            return await self.reader.read(1) == b""
        except ConnectionResetError:
            return True


async def count_body(scope: Scope, receive: Receive, send: Send) -> None:
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    body = str(size).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    config = uvicorn.Config(count_body, log_config=None, lifespan="off")
    state = ServerState()
    loop = asyncio.get_running_loop()
    timers = ManualTimers(loop)
    connection = Limited(config, state, {}, _loop=timers)
    server = await loop.create_server(lambda: connection, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        await connection.connected.wait()
        yield Client(reader, writer, connection, timers)
        writer.close()


class TestHeadLimits:
    async def test_an_endless_field_is_rejected_at_the_limit(self, client: Client) -> None:
        await client.send(b"GET / HTTP/1.1\r\nX-A: " + b"a" * LIMIT)

        status, fields, body = await client.answer()

        assert status == 431
        assert fields["content-type"] == "application/problem+json"
        assert json.loads(body)["code"] == "head_too_long"
        assert await client.is_closed()

    async def test_an_endless_target_is_rejected_at_the_limit(self, client: Client) -> None:
        await client.send(b"GET /" + b"a" * LIMIT)

        assert (await client.answer())[0] == 431

    async def test_endless_fields_are_rejected_at_the_limit(self, client: Client) -> None:
        await client.send(b"GET / HTTP/1.1\r\n" + b"X-A: a\r\n" * LIMIT)

        assert (await client.answer())[0] == 431

    async def test_a_slow_head_is_rejected(self, client: Client) -> None:
        await client.send_and_wait(b"GET / HTTP/1.1\r\nX-A")
        client.let_head_time_pass()

        status, _, body = await client.answer()

        assert status == 408
        assert json.loads(body)["code"] == "head_too_slow"
        assert await client.is_closed()

    async def test_a_connection_without_a_request_is_closed(self, client: Client) -> None:
        client.let_head_time_pass()

        assert (await client.answer())[0] == 408
        assert await client.is_closed()

    async def test_the_second_head_of_a_connection_has_the_same_limits(self, client: Client) -> None:
        await client.send(WHOLE)
        await client.answer()

        await client.send_and_wait(WHOLE[:-2])
        client.let_head_time_pass()

        assert (await client.answer())[0] == 408


class TestBody:
    async def test_may_be_longer_than_a_head(self, client: Client) -> None:
        size = LIMIT * 10
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size + b"a" * size)

        assert (await client.answer())[2] == str(size).encode()

    async def test_may_come_in_the_smallest_chunks(self, client: Client) -> None:
        head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        await client.send(head + b"1\r\na\r\n" * LIMIT + b"0\r\n\r\n")

        assert (await client.answer())[2] == str(LIMIT).encode()

    @pytest.mark.parametrize("endless", [b"2;", b"0\r\nX-A: "])
    async def test_endless_extensions_and_trailers_close_the_connection(self, client: Client, endless: bytes) -> None:
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            await client.send(endless + b"a" * (1 << 20))

        assert (await client.answer())[0] == 431
        assert await client.is_closed()


class TestInvalidHttp:
    async def test_is_rejected_with_a_problem(self, client: Client) -> None:
        await client.send(b"HELLO\r\n\r\n")

        status, fields, body = await client.answer()

        assert status == 400
        assert fields["content-type"] == "application/problem+json"
        assert json.loads(body)["code"] == "malformed_request"
        assert await client.is_closed()


class Impatient(WebSocketConnection):
    handshake_seconds = 0.05


class TestWebSocketHandshake:
    async def test_that_the_app_neither_accepts_nor_rejects_is_ended(self) -> None:
        async def waits(scope: Scope, receive: Receive, send: Send) -> None:
            while (await receive())["type"] != "websocket.disconnect":
                pass

        config = uvicorn.Config(waits, log_config=None, lifespan="off", http=LimitedConnection, ws=Impatient)
        server = await asyncio.get_running_loop().create_server(protocol_factory(config, ServerState()), "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(HANDSHAKE)

            answer = await reader.read()
            writer.close()

        assert answer.startswith(b"HTTP/1.1 500 ")


class TestValidRequest:
    async def test_is_served_although_the_time_for_a_head_has_passed(self, client: Client) -> None:
        await client.send_and_wait(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na")
        client.let_head_time_pass()

        await client.send(b"b")

        assert (await client.answer())[2] == b"2"
