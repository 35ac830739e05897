import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Annotated, Any

import pytest
import uvicorn
from tests.examples.loans import service
from tests.gateway.proxy.gateways import GatewaySetup, gateway_for_app

from portico.gateway.routes import Route
from portico.kit._compat import is_enabled
from portico.kit.auth.access import SignedIn
from portico.kit.http.context import inject
from portico.kit.http.event_stream import MAX_UNREAD, EventStreams, StreamReader, format_event, open_event_streams
from portico.kit.http.event_stream_response import EventStream, EventStreamRequest
from portico.kit.http.router import Router
from portico.kit.http.schema import Schema
from portico.kit.runtime.serving import ConnectionLimits, ServedApp, Servers, bind
from portico.testing.databases import Databases
from portico.testing.running_service import RunningService, run_service

TIMEOUT = 60.0
RETRIES = frozenset(b"retry: %d\n\n" % delay for delay in range(1000, 1000 + 4096))

router = Router(prefix="/rooms", tags=["rooms"])


class Greeting(Schema):
    room_name: str
    after: str | None


Streams = Annotated[EventStreams, inject(EventStreams)]


@router.get("/{name}", streams=True, response_model=Greeting)
async def visit(name: str, stream: EventStreamRequest, streams: Streams) -> Greeting | EventStream:
    """Return a greeting, or stream events that begin with it."""
    greeting = Greeting(room_name=name, after=stream.last_event_id)

    def greet(reader: StreamReader) -> None:
        reader.send(streams.encode(greeting, event="greeting", event_id="1"))

    return stream.open(name, greet) if stream.is_wanted else greeting


@router.get("/{name}/back", streams=True)
async def visit_back_room(name: str, caller: SignedIn, stream: EventStreamRequest) -> EventStream:
    """Stream events to a signed-in caller; the first has the caller's id."""
    return stream.open(name, lambda reader: reader.send(format_event(reader.key)), key=caller.subject)


class Client:
    """One open event stream, read from a socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.head = b""
        self._reader = reader
        self.writer = writer
        self._rest = b""

    async def read_head(self) -> None:
        self.head = await self._reader.readuntil(b"\r\n\r\n")

    async def event(self) -> bytes:
        """Return the next event or comment, without the empty line."""
        while b"\n\n" not in self._rest:
            chunk = await self._chunk()
            if not chunk:
                raise EOFError(self.head)
            self._rest += chunk
        event, _, self._rest = self._rest.partition(b"\n\n")
        return event

    async def rest(self) -> bytes:
        """Return what comes until the regular end of the stream."""
        while chunk := await self._chunk():
            self._rest += chunk
        return self._rest

    async def _chunk(self) -> bytes:
        if b"transfer-encoding: chunked" not in self.head.lower():
            return await self._reader.read(65536)
        size = int(await self._reader.readline(), 16)
        chunk = await self._reader.readexactly(size + 2)
        return chunk[:-2]


@contextlib.asynccontextmanager
async def visiting(address: str, room: str = "hall", *headers: str, version: str = "1.1") -> AsyncIterator[Client]:
    """Open an event stream and read its head."""
    host, _, port = address.partition(":")
    async with asyncio.timeout(TIMEOUT):
        reader, writer = await asyncio.open_connection(host, int(port))
        lines = [f"GET /rooms/{room} HTTP/{version}", f"Host: {address}", "Accept: text/event-stream", *headers, "", ""]
        writer.write("\r\n".join(lines).encode())
        client = Client(reader, writer)
        try:
            await client.read_head()
            yield client
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def app_of(rooms: RunningService) -> Any:
    return rooms.channel._apps[rooms.context.name]


def streams_of(rooms: RunningService) -> EventStreams:
    return rooms.context.resource(EventStreams)


async def until(condition: Any) -> None:
    async with asyncio.timeout(TIMEOUT):
        while not condition():  # noqa: ASYNC110  # the condition is arbitrary
            await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def run_rooms(databases: Databases, **variables: str) -> AsyncIterator[RunningService]:
    whole = replace(
        service,
        routers=[*service.routers, router],
        resources={**service.resources, EventStreams: open_event_streams},
    )
    async with run_service(whole, databases, variables=variables) as running:
        yield running


@contextlib.asynccontextmanager
async def served_by(server: str, app: Any) -> AsyncIterator[str]:
    """Serve an app with one of the servers and yield `host:port`. `task` is a server that keeps its connections."""
    listener = bind("127.0.0.1", 0)
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    if server in {"portico", "task"}:

        async def keeping(scope: Any, receive: Any, send: Any) -> None:
            async def wrapped(message: Any) -> None:
                await send(message)

            await app(scope, receive, wrapped)

        async with Servers([ServedApp("rooms", app if server == "portico" else keeping, listener)], grace=1):
            yield address
        return
    config = uvicorn.Config(app, http=server, lifespan="off", log_config=None, timeout_graceful_shutdown=1)  # type: ignore[arg-type]  # a name
    stock = uvicorn.Server(config)
    serving = asyncio.create_task(stock._serve([listener]))
    await until(lambda: stock.started)
    yield address
    stock.should_exit = True
    await serving


@pytest.fixture
async def rooms(sqlite_databases: Databases) -> AsyncIterator[RunningService]:
    async with run_rooms(sqlite_databases, STREAM_RECHECK="0.05") as rooms:
        yield rooms


@pytest.fixture(params=["portico", "httptools", "h11", "task"])
async def address(rooms: RunningService, request: pytest.FixtureRequest) -> AsyncIterator[str]:
    async with served_by(request.param, app_of(rooms)) as address:
        yield address


@pytest.fixture(params=["direct", "local", "socket"])
async def route(rooms: RunningService, request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """Yield an address of the service: its own, or a gateway's in the same or in another process."""
    if request.param == "direct":
        async with served_by("portico", app_of(rooms)) as address:
            yield address
        return
    setup = GatewaySetup(routes=(Route("echo", "GET", "/rooms/{name}", streams=True),), max_streams=60)
    async with gateway_for_app(request.param, app_of(rooms), setup) as gateway:
        yield gateway.address


class TestFormat:
    def test_an_event_has_its_id_its_type_and_each_line_of_its_data(self) -> None:
        assert (
            format_event("a\nb\r\n", event="tick", event_id="7") == b"id: 7\nevent: tick\ndata: a\ndata: b\ndata: \n\n"
        )

    @pytest.mark.parametrize("name", ["a\nb", "a\r", "a\0b"])
    def test_an_id_of_several_lines_is_rejected(self, name: str) -> None:
        with pytest.raises(ValueError, match="one line"):
            format_event("", event_id=name)


class TestOnEveryServer:
    async def test_a_stream_begins_with_the_state_and_continues_with_events(
        self, rooms: RunningService, address: str
    ) -> None:
        async with visiting(address) as client:
            first = await client.event()
            await streams_of(rooms).publish("hall", format_event("news"))
            second = await client.event()

        assert b" 200 " in client.head
        assert b"\r\ncontent-type: text/event-stream\r\n" in client.head
        assert b"\r\ncache-control: no-store\r\n" in client.head
        assert b"\r\nx-accel-buffering: no\r\n" in client.head
        assert first == b'id: 1\nevent: greeting\ndata: {"room_name":"hall","after":null}'
        assert second == b"data: news"

    async def test_only_the_readers_of_the_group_get_its_events(self, rooms: RunningService, address: str) -> None:
        async with visiting(address, "hall") as hall, visiting(address, "yard") as yard:
            await hall.event()
            await yard.event()
            await streams_of(rooms).publish("hall", format_event("1"))
            await streams_of(rooms).publish("yard", format_event("2"))

            assert (await hall.event(), await yard.event()) == (b"data: 1", b"data: 2")

    async def test_a_client_that_leaves_is_no_reader_any_more(self, rooms: RunningService, address: str) -> None:
        async with visiting(address) as client:
            await client.event()
            assert len(streams_of(rooms).readers("hall")) == 1
            client.writer.transport.abort()

            await until(lambda: not streams_of(rooms).readers("hall"))
        assert rooms.context.sockets.total == 0

    async def test_a_reader_that_is_closed_sees_a_regular_end(self, rooms: RunningService, address: str) -> None:
        async with visiting(address) as client:
            await client.event()
            for reader in streams_of(rooms).readers("hall"):
                reader.close()

            assert await client.rest() == b""
        await until(lambda: rooms.context.sockets.total == 0)

    async def test_streams_end_when_the_service_stops(self, rooms: RunningService, address: str) -> None:
        async with visiting(address) as client:
            await client.event()
            rooms.context.stop()

            assert await client.rest() in RETRIES

    async def test_a_client_of_http_1_0_gets_the_events(self, rooms: RunningService, address: str) -> None:
        async with visiting(address, version="1.0") as client:
            assert (await client.event()).startswith(b"id: 1")
            await streams_of(rooms).publish("hall", format_event("news"))
            assert await client.event() == b"data: news"

    async def test_a_slow_reader_is_disconnected_and_the_others_go_on(
        self, rooms: RunningService, address: str
    ) -> None:
        async with visiting(address) as slow, visiting(address) as reader:
            await slow.event()
            await reader.event()
            slow.writer.transport.pause_reading()  # type: ignore[attr-defined]  # of a socket's transport
            event = format_event("x" * MAX_UNREAD)
            while streams_of(rooms).dropped == 0:
                await streams_of(rooms).publish("hall", event)
                assert len(await reader.event()) > MAX_UNREAD

            await until(lambda: len(streams_of(rooms).readers("hall")) == 1)
            await streams_of(rooms).publish("hall", format_event("news"))
            while (received := await reader.event()) != b"data: news":
                assert len(received) > MAX_UNREAD

    async def test_an_expired_token_ends_the_stream(self, rooms: RunningService, address: str) -> None:
        token = rooms.issuer.token(lasting=60)
        async with visiting(address, "hall/back", f"Authorization: Bearer {token}") as client:
            assert (await client.event()).startswith(b"data: user_")
            rooms.clock.advance(100)

            assert await client.rest() == b""

    async def test_head_returns_at_once(self, rooms: RunningService, address: str) -> None:
        host, _, port = address.partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"HEAD /rooms/hall HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()

        assert b"content-type: text/event-stream" in answer
        assert not streams_of(rooms).readers("hall")


class TestThroughTheGateway:
    async def test_events_and_the_last_event_id_pass(self, rooms: RunningService, route: str) -> None:
        async with visiting(route, "hall", "Last-Event-ID: 17") as client:
            first = await client.event()
            await streams_of(rooms).publish("hall", format_event("news"))

            assert await client.event() == b"data: news"
        assert b"\r\ncache-control: no-store\r\n" in client.head
        assert b"\r\nx-accel-buffering: no\r\n" in client.head
        assert b'"after":"17"' in first

    async def test_a_client_that_leaves_ends_the_stream_in_the_service(self, rooms: RunningService, route: str) -> None:
        async with visiting(route) as client:
            await client.event()
        await until(lambda: not streams_of(rooms).groups)

    async def test_a_stream_that_the_service_ends_ends_regularly(self, rooms: RunningService, route: str) -> None:
        async with visiting(route) as client:
            await client.event()
            rooms.context.stop()

            assert await client.rest() in RETRIES

    @pytest.mark.skipif(not is_enabled("uvicorn_streams"), reason="the fast path is off")
    async def test_streams_need_no_task(self, rooms: RunningService, route: str) -> None:
        async with contextlib.AsyncExitStack() as stack:
            await (await stack.enter_async_context(visiting(route))).event()
            before = len(asyncio.all_tasks())
            for _ in range(19):
                await (await stack.enter_async_context(visiting(route))).event()
            await until(lambda: len(asyncio.all_tasks()) <= before)

            assert len(streams_of(rooms).readers("hall")) == 20

    async def test_many_events_arrive_complete_and_in_order(self, rooms: RunningService, route: str) -> None:
        async with visiting(route) as client:
            await client.event()
            for number in range(200):
                await streams_of(rooms).publish("hall", format_event(f"{number} " + "x" * 5000))
                assert (await client.event()).startswith(b"data: %d " % number)

    async def test_the_number_of_streams_is_limited(self, rooms: RunningService, route: str) -> None:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(20):
                await (await stack.enter_async_context(visiting(route))).event()
            async with visiting(route) as refused:
                assert b" 503 " in refused.head
        await until(lambda: rooms.context.sockets.total == 0)
        async with visiting(route) as client:
            assert (await client.event()).startswith(b"id: 1")


class TestGateway:
    @pytest.mark.parametrize("kind", ["local", "socket"])
    async def test_stop_ends_streams(self, rooms: RunningService, kind: Any) -> None:
        setup = GatewaySetup(routes=(Route("echo", "GET", "/rooms/{name}", streams=True),), max_streams=1)
        async with gateway_for_app(kind, app_of(rooms), setup) as gateway:
            async with visiting(gateway.address) as client:
                await client.event()
                assert gateway.records == []
                async with visiting(gateway.address) as refused:
                    assert b" 503 " in refused.head
                gateway.proxy_app.stop()

                assert await client.rest() == b""
            await until(lambda: not streams_of(rooms).groups)
            assert [(each.status, each.outcome) for each in gateway.records] == [(503, "complete"), (200, "stopped")]
            async with visiting(gateway.address) as client:
                assert b" 200 " in client.head


class TestConnections:
    async def test_a_stream_counts_for_its_address_until_it_ends(self, rooms: RunningService) -> None:
        listener = bind("127.0.0.1", 0)
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        served = ServedApp("rooms", app_of(rooms), listener, ConnectionLimits(each=1))
        async with Servers([served], grace=1):
            async with visiting(address) as client:
                await client.event()
                async with visiting(address) as refused:
                    assert b" 429 " in refused.head
            await until(lambda: not streams_of(rooms).groups)

            async with visiting(address) as client:
                assert b" 200 " in client.head

    @pytest.mark.skipif(not is_enabled("uvicorn_streams"), reason="the fast path is off")
    async def test_a_client_that_sends_data_without_end_is_disconnected(self, rooms: RunningService) -> None:
        async with served_by("portico", app_of(rooms)) as address, visiting(address) as client:
            await client.event()
            client.writer.write(b"x" * 200_000)

            await until(lambda: not streams_of(rooms).groups)


class TestIdleStreams:
    async def test_comments_keep_an_idle_stream_open(self, sqlite_databases: Databases) -> None:
        async with (
            run_rooms(sqlite_databases, STREAM_KEEP_ALIVE="0.05") as rooms,
            served_by("portico", app_of(rooms)) as address,
            visiting(address) as client,
        ):
            await client.event()

            assert (await client.event(), await client.event()) == (b":", b":")


class TestOtherRequests:
    async def test_a_client_that_accepts_no_stream_gets_json(self, rooms: RunningService) -> None:
        answer = await rooms.anonymous.get("/rooms/hall")

        assert answer.json() == {"room_name": "hall", "after": None}
