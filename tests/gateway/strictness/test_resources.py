"""What a stranger can hold of a gateway: each resource has a bound per client, and others are served meanwhile.

The table is in docs/operations.md, "What a client can hold".
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.gateway.proxy.gateways import KnownTokens
from tests.gateway.proxy.scripted_service import Service as App
from tests.gateway.proxy.scripted_service import ServiceRequest, until

from portico.gateway import Gateway
from portico.kit.http.router import Router
from portico.kit.http.sockets import Socket
from portico.kit.runtime.service import Service
from portico.kit.runtime.serving import ConnectionLimits, ServedApp, Servers, bind
from portico.kit.runtime.system import System
from portico.kit.settings import Settings

HOST = "127.0.0.1"
STRANGER, OTHER = "127.0.0.2", "127.0.0.3"
GET = b"GET /loans/loan_1 HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /loans HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"
UPGRADE = b"Host: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
ANSWER_SIZE = 32 << 20  # more than the buffers of the kernel take

router = Router(prefix="/loans")


@router.get("/{loan_id}")
async def read_loan(loan_id: str) -> None:
    """Read a loan."""


@router.post("")
async def lend() -> None:
    """Lend a book."""


@router.websocket("/{loan_id}/live")
async def follow(loan_id: str, socket: Socket) -> None:
    """Follow a loan."""


LOANS = Service(name="loans", summary="Who has which book", module=__name__, routers=[router])
LIBRARY = System("library", "Readers and books", gateway=8000, services={LOANS: 8001})


@dataclass(frozen=True)
class Resource:
    """A resource that a connection holds.

    Args:
        name: Its name in the documents.
        sent: What a client sends to hold one, on a connection of its own.
        settings: Settings that bound it.
        held: How many one client can hold with these settings.
        refusal: Beginning and part of the answer to one more.
    """

    name: str
    sent: bytes
    held: int
    refusal: tuple[bytes, bytes]
    settings: dict[str, Any] = field(default_factory=dict)


CONNECTIONS = {"max_connections": 8, "max_client_share": 0.5}
REQUESTS = {"max_requests": 4, "max_client_share": 0.5}
STREAMS = {"max_streams": 4, "max_client_share": 0.5}
TOO_MANY_CONNECTIONS = (b"HTTP/1.1 429 ", b'"code":"too_many_connections"')
TOO_MANY_BODIES = (b"HTTP/1.1 429 ", b'"code":"too_many_bodies"')
TOO_MANY_AT_ONCE = (b"HTTP/1.1 429 ", b'"code":"too_many_at_once"')

RESOURCES = (
    Resource("idle connection", b"", 4, TOO_MANY_CONNECTIONS, CONNECTIONS),
    Resource("slow head", GET[:-2], 4, TOO_MANY_CONNECTIONS, CONNECTIONS),
    Resource("slow body", POST + b"x", 2, TOO_MANY_BODIES, REQUESTS),
    Resource("request in progress", GET.replace(b"loan_1", b"waits"), 2, TOO_MANY_AT_ONCE, REQUESTS),
    Resource("unread answer", GET.replace(b"loan_1", b"large"), 2, TOO_MANY_AT_ONCE, REQUESTS),
    Resource(
        "WebSocket",
        b"GET /loans/loan_1/live HTTP/1.1\r\nSec-WebSocket-Version: 13\r\n" + UPGRADE + b"\r\n",
        2,
        TOO_MANY_AT_ONCE,
        STREAMS,
    ),
)


async def wait(request: ServiceRequest) -> None:
    await request.disconnected()


async def answer_large(request: ServiceRequest) -> None:
    await request.begin(200)
    for _ in range(ANSWER_SIZE >> 20):
        await request.write(bytes(1 << 20), more=True)
    await request.write(b"", more=False)


async def stream(request: ServiceRequest) -> None:
    await request.receive()
    await request.send({"type": "websocket.accept"})
    await request.disconnected()


@dataclass
class Peer:
    """A client with an address of its own.

    Args:
        address: Its address.
        port: The port of the server.
    """

    address: str
    port: int
    connections: list[asyncio.StreamWriter] = field(default_factory=list)

    async def connect(self, sent: bytes) -> asyncio.StreamReader:
        """Open a connection that reads no more than asked, and send something on it."""
        try:
            reader, writer = await asyncio.open_connection(HOST, self.port, local_addr=(self.address, 0), limit=1024)
        except OSError as error:
            pytest.skip(f"this machine has no address {self.address}: {error}")
        self.connections.append(writer)
        writer.write(sent)
        return reader


@contextlib.asynccontextmanager
async def peer(address: str, port: int) -> AsyncIterator[Peer]:
    client = Peer(address, port)
    try:
        yield client
    finally:
        for connection in client.connections:
            connection.transport.abort()


@contextlib.asynccontextmanager
async def a_gateway(settings: Settings) -> AsyncIterator[tuple[int, App]]:
    """Serve the gateway of a library; yield its port, and its service."""
    app = App()
    app.on("/loans/waits", wait)
    app.on("/loans/large", answer_large)
    app.on("/loans/loan_1/live", stream)
    async with Gateway(LIBRARY, settings, verifier=KnownTokens(), apps={"loans": app}, addresses={}) as gateway:
        served = ServedApp("gateway", gateway, bind(HOST, 0), ConnectionLimits.of(settings, behind_gateway=False))
        async with Servers([served], grace=1.0):
            yield served.port, app
            gateway.stop()


async def status_of(client: Peer, sent: bytes) -> bytes:
    reader = await client.connect(sent)
    return (await reader.readline()).split(b" ")[1]


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.name)
async def test_a_client_holds_a_bounded_part_and_others_are_served(resource: Resource) -> None:
    settings = Settings(**resource.settings)
    async with (
        a_gateway(settings) as (port, app),
        peer(STRANGER, port) as stranger,
        peer(OTHER, port) as other,
    ):
        for number in range(1, resource.held + 1):
            await stranger.connect(resource.sent)
            if settings.max_connections > 8:
                await until(lambda expected=number: len(app.requests) == expected)
        refused = await stranger.connect(resource.sent)
        beginning, part = resource.refusal
        head = await refused.readuntil(b"\r\n\r\n")

        assert head.startswith(beginning)
        assert part in await refused.readuntil(part)
        assert await status_of(other, GET) == b"200"
        assert await status_of(other, POST + b"x" * 10) == b"200"


@pytest.mark.parametrize(
    "fields", [b"Sec-WebSocket-Version: 13\r\nContent-Length: 2\r\n", b"Sec-WebSocket-Version: 12\r\n"]
)
async def test_a_refused_upgrade_holds_nothing(fields: bytes) -> None:
    handshake = b"GET /loans/loan_1/live HTTP/1.1\r\n" + fields + UPGRADE + b"\r\n{}"
    async with (
        a_gateway(Settings(**CONNECTIONS)) as (port, _),
        peer(STRANGER, port) as stranger,
        peer(OTHER, port) as other,
    ):
        for _ in range(10):  # more than a client's share of connections
            reader = await stranger.connect(handshake)
            assert (await reader.read()).startswith(b"HTTP/1.1 4")  # and the connection is closed

        assert await status_of(other, GET) == b"200"


async def test_a_client_that_reads_nothing_is_disconnected() -> None:
    gone = asyncio.Event()

    async def write_much(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(ANSWER_SIZE), "more_body": True})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})  # waits until the client has read
        while (await receive())["type"] != "http.disconnect":
            pass
        gone.set()

    served = ServedApp("large", write_much, bind(HOST, 0), ConnectionLimits(unread_seconds=0.0))
    async with Servers([served], grace=1.0), peer(HOST, served.port) as client:
        await client.connect(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await gone.wait()


def test_the_connections_of_trusted_proxies_are_not_counted() -> None:
    settings = Settings(trusted_proxies="192.0.2.0/24", max_connections=8)

    assert str(ConnectionLimits.of(settings, behind_gateway=False).exempt[0]) == "192.0.2.0/24"
    assert len(ConnectionLimits.of(settings, behind_gateway=True).exempt) == 3
    assert ConnectionLimits.of(settings, behind_gateway=False).each == 2
    assert ConnectionLimits.of(settings, behind_gateway=False).proxies == ()
    begins = settings.model_copy(update={"proxy_protocol": True})
    assert ConnectionLimits.of(begins, behind_gateway=False).proxies == settings.trusted_proxies
    assert ConnectionLimits.of(begins, behind_gateway=True).proxies == ()
