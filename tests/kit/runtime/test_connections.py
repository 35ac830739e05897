import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from portico.kit.runtime.uvicorn_protocols import LimitedConnection

LIMIT = 4096
WHOLE = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Strict(LimitedConnection):
    most_unspent = LIMIT
    head_seconds = 0.05


class Client:
    """A peer that writes bytes as it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        return int(head[0].split()[1]), fields, await self.reader.readexactly(int(fields["content-length"]))

    async def is_cut(self) -> bool:
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
    server = await loop.create_server(lambda: Strict(config, state, {}), "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        yield Client(reader, writer)
        writer.close()


class TestAHeadThatDoesNotEnd:
    async def test_a_field_without_end_is_refused_at_the_limit(self, client: Client) -> None:
        await client.send(b"GET / HTTP/1.1\r\nX-A: " + b"a" * LIMIT)

        status, fields, body = await client.answer()

        assert status == 431
        assert fields["content-type"] == "application/problem+json"
        assert json.loads(body)["code"] == "head_too_long"
        assert await client.is_cut()

    async def test_a_target_without_end_is_refused_at_the_limit(self, client: Client) -> None:
        await client.send(b"GET /" + b"a" * LIMIT)

        assert (await client.answer())[0] == 431

    async def test_fields_without_end_are_refused_at_the_limit(self, client: Client) -> None:
        await client.send(b"GET / HTTP/1.1\r\n" + b"X-A: a\r\n" * LIMIT)

        assert (await client.answer())[0] == 431

    async def test_a_head_that_trickles_in_is_given_up(self, client: Client) -> None:
        await client.send(b"GET / HTTP/1.1\r\nX-A")

        status, _, body = await client.answer()

        assert status == 408
        assert json.loads(body)["code"] == "head_too_slow"
        assert await client.is_cut()

    async def test_a_connection_on_which_nothing_comes_is_given_up(self, client: Client) -> None:
        assert (await client.answer())[0] == 408
        assert await client.is_cut()

    async def test_the_second_head_of_a_connection_has_the_same_limits(self, client: Client) -> None:
        await client.send(WHOLE)
        await client.answer()

        await client.send(WHOLE[:-2])

        assert (await client.answer())[0] == 408


class TestABody:
    async def test_may_be_longer_than_a_head(self, client: Client) -> None:
        size = LIMIT * 10
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size + b"a" * size)

        assert (await client.answer())[2] == str(size).encode()

    async def test_may_come_in_the_smallest_chunks(self, client: Client) -> None:
        head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        await client.send(head + b"1\r\na\r\n" * LIMIT + b"0\r\n\r\n")

        assert (await client.answer())[2] == str(LIMIT).encode()

    @pytest.mark.parametrize("endless", [b"2;", b"0\r\nX-A: "])
    async def test_extensions_and_trailers_without_end_are_cut(self, client: Client, endless: bytes) -> None:
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            await client.send(endless + b"a" * (1 << 20))

        assert await client.is_cut()


class TestWhatIsNotHttp:
    async def test_is_refused_with_a_problem(self, client: Client) -> None:
        await client.send(b"HELLO\r\n\r\n")

        status, fields, body = await client.answer()

        assert status == 400
        assert fields["content-type"] == "application/problem+json"
        assert json.loads(body)["code"] == "malformed_request"
        assert await client.is_cut()


class TestARequestInOrder:
    async def test_is_not_cut_when_the_time_for_a_head_has_passed(self, client: Client) -> None:
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na")
        passed = asyncio.Event()
        asyncio.get_running_loop().call_later(Strict.head_seconds * 2, passed.set)
        await passed.wait()

        await client.send(b"b")

        assert (await client.answer())[2] == b"2"
