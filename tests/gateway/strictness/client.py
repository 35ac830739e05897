"""A client that sends any bytes and reads any answers."""

import asyncio
import contextlib
import re
import socket
from dataclasses import dataclass, field

from tests.gateway.strictness.rows import ROW, Fate, Row, Step

TIMEOUT = 20.0
"""How long (seconds) a row may take; longer than every time-out of the servers."""

HEAD_END = b"\r\n\r\n"
BODILESS = frozenset((101, 204, 304))
INFORMATIONAL = 200
SWITCHING = 101
PROBE = b"GET /probe/{row} HTTP/1.1\r\nHost: a\r\n\r\n"


@dataclass(frozen=True)
class Answer:
    status: int
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes

    def get(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.fields if key == name), None)


class Ended(Exception):
    """The server closed the connection."""


@dataclass
class Exchange:
    """What a row's connection received."""

    answers: list[Answer] = field(default_factory=list)
    next_answers: list[Answer] = field(default_factory=list)
    fate: Fate = Fate.CLOSED
    fault: str = ""


async def play(row: Row, number: int, address: str, *, expected: int, arrived: asyncio.Event | None) -> Exchange:
    """Send a row's bytes on a new connection, read the answers, and find out whether the connection is still served.

    Args:
        row: The row.
        number: The number that its requests carry.
        address: Host and port of the server.
        expected: How many answers to wait for before the probe, unless the connection ends.
        arrived: Set when a request of the row has reached the service; None if the server forwards only whole requests.
    """
    exchange = Exchange()
    host, port = address.split(":")
    reader, writer = await _connect(host, int(port))
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    player = _Player(reader, writer, exchange, number, heads=_expects_heads(row))
    try:
        async with asyncio.timeout(TIMEOUT):
            await player.send(row, arrived)
            await player.read_until(expected)
            await player.probe(silently=row.is_slow)
    except (Ended, ConnectionError):
        exchange.fate = Fate.CLOSED
    except TimeoutError:
        exchange.fault = "neither answered nor closed"
    finally:
        writer.transport.abort()
    return exchange


class _Reader(asyncio.StreamReader):
    """A reader for which a reset connection has ended: what arrived before can still be read."""

    def set_exception(self, exc: Exception) -> None:
        self.feed_eof()


async def _connect(host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    loop = asyncio.get_running_loop()
    reader = _Reader(loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await loop.create_connection(lambda: protocol, host, port)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


class _Player:
    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        exchange: Exchange,
        number: int,
        *,
        heads: list[bool],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._exchange = exchange
        self._number = str(number).encode()
        self._heads = heads
        self._is_half_closed = False

    async def send(self, row: Row, arrived: asyncio.Event | None) -> None:
        slowly = False
        for each in row.sent:
            match each:
                case Step.AWAIT_ANSWER:
                    await self._read_one()
                case Step.AWAIT_EARLY_ANSWER:
                    if arrived is not None:
                        await self._read_one()
                case Step.AWAIT_ARRIVAL:
                    if arrived is not None:
                        await arrived.wait()
                case Step.HALF_CLOSE:
                    self._writer.write_eof()
                    self._is_half_closed = True
                case Step.BYTE_BY_BYTE:
                    slowly = True
                case bytes():
                    await self._write(each.replace(ROW, self._number), slowly=slowly)
                    slowly = False

    async def read_until(self, expected: int) -> None:
        """Read until there are as many answers as expected."""
        while len(self._exchange.answers) < expected:
            await self._read_one()

    async def probe(self, *, silently: bool) -> None:
        """Send one more request, unless the connection has become a WebSocket, and wait for its answer or the end."""
        if self._exchange.answers and self._exchange.answers[-1].status == SWITCHING:
            self._exchange.fate = Fate.SWITCHED
            return
        if not silently and not self._is_half_closed:
            await self._write(PROBE.replace(ROW, self._number), slowly=False)
        while True:
            answer = await self._read_answer(head=False)
            if b"probe" in answer.body:
                self._exchange.fate = Fate.KEPT
                return
            self._exchange.next_answers.append(answer)

    async def _write(self, data: bytes, *, slowly: bool) -> None:
        with contextlib.suppress(ConnectionError):  # what was answered before can still be read
            for piece in (data[at : at + 1] for at in range(len(data))) if slowly else (data,):
                self._writer.write(piece)
                await self._writer.drain()

    async def _read_one(self) -> None:
        finals = sum(answer.status >= INFORMATIONAL for answer in self._exchange.answers)
        head = self._heads[finals] if finals < len(self._heads) else False
        self._exchange.answers.append(await self._read_answer(head=head))

    async def _read_answer(self, *, head: bool) -> Answer:
        try:
            lines = (await self._reader.readuntil(HEAD_END))[:-4].split(b"\r\n")
            status = int(re.fullmatch(rb"HTTP/1\.[01] (\d{3}).*", lines[0])[1])  # type: ignore[index]
            pairs = (line.partition(b":") for line in lines[1:])
            fields = tuple((name.lower(), value.strip()) for name, _, value in pairs)
            answer = Answer(status, fields, b"")
            if head or status in BODILESS or status < INFORMATIONAL:
                return answer
            return Answer(status, fields, await self._read_body(answer))
        except asyncio.IncompleteReadError as error:
            if error.partial.startswith(b"HTTP/"):  # otherwise HTTP/0.9, which NGINX speaks
                self._exchange.fault = f"an incomplete answer: {error.partial[:80]!r}"
            raise Ended from error

    async def _read_body(self, answer: Answer) -> bytes:
        if (length := answer.get(b"content-length")) is not None:
            return await self._reader.readexactly(int(length))
        if answer.get(b"transfer-encoding") is None:
            return await self._reader.read()
        body = b""
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            body += (await self._reader.readexactly(size + 2))[:-2]
        await self._reader.readexactly(2)
        return body


def _expects_heads(row: Row) -> list[bool]:
    """Return for each request of a row whether its answer has no body because its method is HEAD."""
    sent = b"".join(each for each in row.sent if isinstance(each, bytes))
    return [method == b"HEAD" for method in re.findall(rb"(?:^|\n)([A-Z]+) /", sent)]
