"""Requests that the fast plane forwards, and those that it hands over to the ASGI plane."""

import asyncio
import contextlib
import random
import re
import time
from collections.abc import AsyncIterator

import pytest
from tests.gateway.fast.raw_client import RawClient, raw_client
from tests.gateway.proxy.gateways import Gateway, Kind, gateway_for_app
from tests.gateway.proxy.scripted_service import Service, ServiceRequest, until

from portico.gateway.fast.time_limits import TimeLimits

LARGE = 32 << 20


@pytest.fixture(params=["local", "socket"])
def kind(request: pytest.FixtureRequest) -> Kind:
    kind: Kind = request.param
    return kind


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
async def gateway(kind: Kind, service: Service) -> AsyncIterator[Gateway]:
    async with gateway_for_app(kind, service, plane="fast") as gateway:
        yield gateway


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[RawClient]:
    """A client of a gateway that has an idle connection to its service."""
    async with raw_client(gateway) as client:
        await client.get()
        gateway.records.clear()
        yield client


def forwarded(gateway: Gateway) -> int:
    assert gateway.fast is not None
    return gateway.fast.forwarded


def time_limits_of(gateway: Gateway) -> TimeLimits:
    assert gateway.fast is not None
    return gateway.fast.time_limits


def expire(gateway: Gateway) -> None:
    """Let all time limits be over."""
    time_limits_of(gateway).apply(time.perf_counter() + 3600)


class TestPlainRequests:
    async def test_are_forwarded_without_the_asgi_plane(self, gateway: Gateway, client: RawClient) -> None:
        before = forwarded(gateway)
        answers = [await client.get() for _ in range(3)]

        assert [answer.status for answer in answers] == [200] * 3
        assert forwarded(gateway) == before + 3

    async def test_are_recorded(self, gateway: Gateway, client: RawClient) -> None:
        await client.get("/echo/ann?ticket=secret")
        (found,) = gateway.records

        assert (found.method, found.path, found.route, found.service) == ("GET", "/echo/ann", "/echo/{name}", "echo")
        assert (found.status, found.outcome, found.attempts, found.client) == (200, "complete", 1, "127.0.0.1")
        assert 0 < found.upstream_seconds <= found.seconds

    async def test_may_be_split_or_pipelined(self, gateway: Gateway, client: RawClient) -> None:
        client.writer.write(b"GET /echo HTTP/1.1\r\nHo")
        await asyncio.sleep(0)
        client.writer.write(b"st: gateway\r\n\r\n" + b"GET /echo HTTP/1.1\r\nHost: gateway\r\n\r\n" * 3)

        assert [(await client.read()).status for _ in range(4)] == [200] * 4
        assert (await client.get()).status == 200

    async def test_wait_for_the_request_before_them(
        self, gateway: Gateway, client: RawClient, service: Service
    ) -> None:
        go_on = asyncio.Event()

        async def wait(request: ServiceRequest) -> None:
            await go_on.wait()
            await request.answer(200, b"first")

        service.on("/echo/first", wait)
        client.send("/echo/first")
        await until(lambda: len(service.requests) == 2)
        client.send("/echo/second")
        client.send("/echo/third")
        go_on.set()

        bodies = [(await client.read()).body for _ in range(3)]
        assert bodies[0] == b"first"
        assert [b"/echo/second" in bodies[1], b"/echo/third" in bodies[2]] == [True, True]


class TestOtherRequests:
    @pytest.mark.parametrize(
        "fields",
        [
            ("Content-Length: 0",),
            ("Expect: 100-continue",),
            ("Upgrade: h2c",),
            ("Connection: close",),
            ("TE: trailers",),
        ],
    )
    async def test_are_served(self, client: RawClient, fields: tuple[str, ...]) -> None:
        assert (await client.get("/echo", *fields)).status == 200

    async def test_alternate_with_plain_ones_on_a_connection(self, gateway: Gateway, client: RawClient) -> None:
        before, statuses = forwarded(gateway), []
        for _ in range(3):
            client.writer.write(b"POST /echo HTTP/1.1\r\nHost: gateway\r\nContent-Length: 2\r\n\r\nab")
            statuses += [(await client.read()).status, (await client.get()).status, (await client.get("/lost")).status]

        assert statuses == [200, 200, 404] * 3
        assert forwarded(gateway) == before + 3

    async def test_empty_lines_keep_the_time_limit_of_an_idle_connection(
        self, gateway: Gateway, client: RawClient
    ) -> None:
        client.writer.write(b"\r\n\r\n")
        await client.get()
        client.writer.write(b"\r\n")
        await until(lambda: time_limits_of(gateway).idle)
        expire(gateway)

        assert await client.reader.read() == b""


class TestResponses:
    async def test_a_response_without_length_is_streamed(
        self, gateway: Gateway, client: RawClient, service: Service
    ) -> None:
        async def stream(request: ServiceRequest) -> None:
            await request.begin(200)
            await request.write(b"FIRST")
            await request.write(b"SECOND", more=False)

        service.on("/echo", stream)
        before = forwarded(gateway)
        for _ in range(2):
            client.send()
            head = await client.reader.readuntil(b"\r\n\r\n")
            body = await client.reader.readuntil(b"0\r\n\r\n")
            assert b"transfer-encoding: chunked\r\n" in head
            assert re.sub(rb"[0-9a-f]+\r\n|\r\n", b"", body) == b"FIRSTSECOND"

        assert [record.outcome for record in gateway.records] == ["complete"] * 2
        assert forwarded(gateway) == before + 2
        assert (await client.get("/echo/ann")).status == 200

    async def test_a_response_without_length_that_breaks_has_no_end(
        self, gateway: Gateway, client: RawClient, service: Service
    ) -> None:
        async def fail(request: ServiceRequest) -> None:
            await request.begin(200)
            await request.write(b"first")
            raise RuntimeError("internal detail")

        service.on("/echo", fail)
        client.send()
        received = b""
        with contextlib.suppress(ConnectionError):
            received = await client.reader.read()

        assert not received.endswith(b"0\r\n\r\n")
        assert b"internal detail" not in received
        await until(lambda: gateway.records)
        assert gateway.records[0].outcome == "broken"

    async def test_a_large_response_waits_for_its_reader(
        self, gateway: Gateway, client: RawClient, service: Service
    ) -> None:
        written = 0

        async def large(request: ServiceRequest) -> None:
            nonlocal written
            await request.begin(200, (b"content-length", str(LARGE).encode()))
            for start in range(0, LARGE, 65536):
                await request.write(b"x" * 65536, more=start + 65536 < LARGE)
                written = start + 65536

        service.on("/echo", large)
        client.send("/echo")
        await until(lambda: written)
        for _ in range(2000):
            await asyncio.sleep(0)
        unread = written
        answer = await client.read()

        assert unread < LARGE
        assert len(answer.body) == LARGE
        assert (await client.get("/echo/ann")).status == 200

    async def test_a_failing_service_is_answered_by_the_asgi_plane(
        self, gateway: Gateway, client: RawClient, service: Service
    ) -> None:
        async def fail(request: ServiceRequest) -> None:
            raise RuntimeError("internal detail")

        service.on("/echo", fail)

        assert (await client.get()).status == 500
        assert [record.status for record in gateway.records] == [500]

    @pytest.mark.parametrize("length", [3, 9])
    async def test_a_body_of_another_length_breaks_the_response(
        self, gateway: Gateway, client: RawClient, service: Service, length: int
    ) -> None:
        async def lie(request: ServiceRequest) -> None:
            await request.begin(200, (b"content-length", str(length).encode()))
            await request.write(b"123456", more=False)

        service.on("/echo", lie)
        client.send()
        received = b""
        with contextlib.suppress(ConnectionError):
            received = await client.reader.read()

        assert len(received.partition(b"\r\n\r\n")[2]) < 9
        await until(lambda: gateway.records)
        assert gateway.records[0].outcome == "broken"

    async def test_a_response_that_stalls_is_broken_off(
        self, gateway: Gateway, client: RawClient, service: Service
    ) -> None:
        async def stall(request: ServiceRequest) -> None:
            await request.begin(200, (b"content-length", b"10"))
            await request.write(b"12345")
            await request.disconnected()

        service.on("/echo", stall)
        client.send()
        await client.reader.readuntil(b"12345")
        expire(gateway)

        assert await client.reader.read() == b""
        assert [record.outcome for record in gateway.records] == ["stalled"]

    async def test_a_response_that_does_not_begin_is_a_504(
        self, gateway: Gateway, client: RawClient, service: Service
    ) -> None:
        gone = asyncio.Event()

        async def think(request: ServiceRequest) -> None:
            await request.disconnected()
            gone.set()

        service.on("/slow", think)
        answer = await client.get("/slow")
        await gone.wait()

        assert (answer.status, gateway.records[0].status) == (504, 504)


class TestManyClients:
    async def test_nothing_is_held_when_clients_leave_at_any_moment(self, gateway: Gateway, service: Service) -> None:
        chance = random.Random(7)  # noqa: S311  the same moves in each run

        async def vary(request: ServiceRequest) -> None:
            size = chance.choice([0, 10, 200_000])
            await request.begin(200, *([(b"content-length", str(size).encode())] if chance.random() < 0.8 else []))
            for start in range(0, size, 50_000):
                await asyncio.sleep(0)
                await request.write(b"x" * min(50_000, size - start))
            if chance.random() < 0.1:
                raise RuntimeError("a service may fail at any time")
            await request.write(b"", more=False)

        async def visit() -> None:
            async with raw_client(gateway) as client:
                for _ in range(chance.randrange(1, 8)):
                    if client.writer.is_closing():
                        return
                    client.send(chance.choice(["/echo", "/echo/ann", "/lost", "/echo?a=%20"]))
                    for _ in range(chance.randrange(40)):
                        await asyncio.sleep(0)
                    with contextlib.suppress(asyncio.TimeoutError, asyncio.IncompleteReadError, ConnectionError):
                        await asyncio.wait_for(client.reader.read(chance.choice([1, 100_000])), 0.01)

        service.on("/echo", vary)
        service.on("/echo/ann", vary)
        await asyncio.gather(*(visit() for _ in range(40)))
        await until(lambda: gateway.proxy_app.slots[False].total == 0)

        assert time_limits_of(gateway).busy == set()
        assert forwarded(gateway)
        if gateway.directory is not None:
            assert {state.in_flight for state in gateway.directory.states("echo")} == {0}


class TestConnections:
    async def test_a_client_that_leaves_frees_its_place(
        self, gateway: Gateway, client: RawClient, service: Service
    ) -> None:
        gone = asyncio.Event()

        async def think(request: ServiceRequest) -> None:
            await request.disconnected()
            gone.set()

        service.on("/echo", think)
        client.send()
        await until(lambda: len(service.requests) == 2)
        client.writer.close()
        await gone.wait()
        await until(lambda: gateway.records)

        assert (gateway.records[0].status, gateway.records[0].outcome) == (499, "client_gone")
        assert gateway.proxy_app.slots[False].total == 0

    async def test_an_idle_connection_is_closed(self, gateway: Gateway, client: RawClient) -> None:
        await client.get()
        await until(lambda: time_limits_of(gateway).idle)
        expire(gateway)

        assert await client.reader.read() == b""

    async def test_a_shutdown_lets_the_response_end_and_then_closes(
        self, gateway: Gateway, client: RawClient, service: Service
    ) -> None:
        go_on = asyncio.Event()

        async def wait(request: ServiceRequest) -> None:
            await go_on.wait()
            await request.answer(200, b"done")

        service.on("/echo", wait)
        client.send()
        await until(lambda: len(service.requests) == 2)
        (exchange,) = time_limits_of(gateway).busy
        exchange.client.shutdown()  # type: ignore[attr-defined]  # of an exchange
        go_on.set()
        answer = await client.read()

        assert (answer.body, answer.headers["connection"]) == (b"done", "close")
        assert await client.reader.read() == b""

    async def test_places_are_released(self, gateway: Gateway, client: RawClient) -> None:
        for path in ("/echo", "/lost", "/me", "/echo/ann"):
            await client.get(path)

        assert gateway.proxy_app.slots[False].total == 0
        assert time_limits_of(gateway).busy == set()
