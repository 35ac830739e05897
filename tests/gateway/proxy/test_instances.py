"""Behaviour with several instances of a service, some of them failing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from tests.gateway.proxy.gateways import Gateway, GatewaySetup, Plane, gateway_for_addresses
from tests.gateway.proxy.scripted_service import Service, ServiceRequest, until
from tests.gateway.proxy.servers import bound, served

from portico.gateway.proxy.app import RETRY_BURST
from portico.kit.calls.breaker import BreakerConfig

QUICK = BreakerConfig(consecutive=3, open_for=60.0)


async def hang_up(request: ServiceRequest) -> None:
    """Close the connection without a response."""
    transport = request.receive.__self__.transport
    transport.abort()
    await request.disconnected()


async def refuse(request: ServiceRequest) -> None:
    """Respond like a proxy whose service is down."""
    await request.answer(503, b"<h1>503</h1>", (b"content-type", b"text/html"))


async def not_now(request: ServiceRequest) -> None:
    """Respond like a service that cannot handle this request at the moment."""
    await request.answer(503, b"{}", (b"content-type", b"application/problem+json"))


def closed_port() -> str:
    with bound() as listener:
        host, port = listener.getsockname()
    return f"{host}:{port}"


@pytest.fixture
def healthy() -> Service:
    return Service("healthy")


@pytest.fixture
def failing() -> Service:
    return Service("failing")


@pytest.fixture(params=["asgi", "fast"])
def plane(request: pytest.FixtureRequest) -> Plane:
    plane: Plane = request.param
    return plane


@pytest.fixture
async def gateway(healthy: Service, failing: Service, plane: Plane) -> AsyncIterator[Gateway]:
    """A gateway in front of a healthy instance and one that the test makes fail."""
    async with AsyncExitStack() as stack:
        addresses = [await stack.enter_async_context(served(app)) for app in (healthy, failing)]
        yield await stack.enter_async_context(gateway_for_addresses(addresses, GatewaySetup(config=QUICK), plane))


class TestBalancing:
    async def test_requests_are_balanced_over_instances(
        self, gateway: Gateway, healthy: Service, failing: Service
    ) -> None:
        for _ in range(10):
            await gateway.client.get("/echo")

        assert (len(healthy.requests), len(failing.requests)) == (5, 5)

    async def test_a_busy_instance_gets_fewer_requests(
        self, gateway: Gateway, healthy: Service, failing: Service
    ) -> None:
        go_on = asyncio.Event()

        async def busy(request: ServiceRequest) -> None:
            await go_on.wait()
            await request.answer(200)

        failing.on("/echo", busy)
        waiting = [asyncio.create_task(gateway.client.get("/echo")) for _ in range(2)]
        await until(lambda: failing.requests and gateway.records)
        for _ in range(6):
            await gateway.client.get("/echo")
        go_on.set()
        await asyncio.gather(*waiting)

        assert len(failing.requests) == 1


class TestRetries:
    async def test_a_safe_request_is_retried_on_another_instance(self, gateway: Gateway, failing: Service) -> None:
        failing.on("/echo", hang_up)

        answers = [await (await gateway.client.get("/echo")).json() for _ in range(4)]

        assert {answer["service"] for answer in answers} == {"healthy"}
        assert max(record.attempts for record in gateway.records) == 2

    async def test_an_error_of_a_proxy_is_retried(self, gateway: Gateway, failing: Service) -> None:
        failing.on("/echo", refuse)

        answers = [await gateway.client.get("/echo") for _ in range(4)]

        assert [answer.status for answer in answers] == [200] * 4

    async def test_a_503_of_the_service_itself_is_not_retried(self, gateway: Gateway, failing: Service) -> None:
        failing.on("/echo", not_now)

        answers = [await gateway.client.get("/echo") for _ in range(8)]

        assert sorted(answer.status for answer in answers) == [200] * 4 + [503] * 4
        assert all(record.attempts == 1 for record in gateway.records)

    async def test_a_write_with_unknown_outcome_is_not_retried(
        self, gateway: Gateway, healthy: Service, failing: Service
    ) -> None:
        failing.on("/echo", hang_up)

        answers = [await gateway.client.post("/echo", data=b"once") for _ in range(2)]
        problems = [await one.json(content_type=None) for one in answers if one.status != 200]

        assert sorted(answer.status for answer in answers) == [200, 502]
        assert problems[0]["code"] == "service_failed"
        assert (len(healthy.requests), len(failing.requests)) == (1, 1)

    async def test_a_write_that_was_not_sent_is_retried(self, healthy: Service, plane: Plane) -> None:
        async with served(healthy) as address, gateway_for_addresses([address, closed_port()], plane=plane) as gateway:
            answers = [await gateway.client.post("/echo", data=b"once") for _ in range(4)]

        assert [answer.status for answer in answers] == [200] * 4
        assert len(healthy.requests) == 4

    async def test_a_response_that_has_begun_is_not_retried(self, gateway: Gateway, failing: Service) -> None:
        async def half(request: ServiceRequest) -> None:
            await request.begin(200)
            await request.write(b"half")
            await hang_up(request)

        failing.on("/echo", half)
        for _ in range(2):
            answer = await gateway.client.get("/echo")
            await asyncio.gather(answer.read(), return_exceptions=True)

        assert sorted(record.outcome for record in gateway.records) == ["broken", "complete"]
        assert all(record.attempts == 1 for record in gateway.records)

    async def test_retries_stay_within_the_budget(self, failing: Service, plane: Plane) -> None:
        failing.on("/echo", refuse)
        async with AsyncExitStack() as stack:
            addresses = [await stack.enter_async_context(served(failing)) for _ in range(2)]
            setup = GatewaySetup(config=BreakerConfig(consecutive=1000, min_calls=1000))
            gateway = await stack.enter_async_context(gateway_for_addresses(addresses, setup, plane))
            for _ in range(300):
                await gateway.client.get("/echo")

        assert len(failing.requests) <= 300 * 1.2 + RETRY_BURST

    async def test_an_instance_that_exits_fails_none_of_many_reads_in_flight(
        self, healthy: Service, failing: Service, plane: Plane, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        exiting = asyncio.Event()

        async def exit_later(request: ServiceRequest) -> None:
            await exiting.wait()
            await hang_up(request)

        async def wait(request: ServiceRequest) -> None:
            await exiting.wait()
            await request.answer(200)

        failing.on("/echo", exit_later)
        healthy.on("/echo", wait)
        # sixty connections at once take long on a busy machine
        monkeypatch.setattr("portico.gateway.upstreams.connection_pool.CONNECT_TIMEOUT", 60.0)
        async with AsyncExitStack() as stack:
            addresses = [await stack.enter_async_context(served(each)) for each in (healthy, failing)]
            setup = GatewaySetup(config=QUICK, timeout=60.0)
            gateway = await stack.enter_async_context(gateway_for_addresses(addresses, setup, plane))
            stack.callback(exiting.set)  # servers wait for their requests before they stop
            asking = [asyncio.create_task(gateway.client.get("/echo")) for _ in range(60)]
            await until(lambda: len(healthy.requests) + len(failing.requests) == 60)
            exiting.set()
            answers = await asyncio.gather(*asking)

        assert [answer.status for answer in answers] == [200] * 60
        assert len(failing.requests) == 30


class TestEjection:
    async def test_a_failing_instance_is_ejected(self, gateway: Gateway, failing: Service) -> None:
        failing.on("/echo", hang_up)
        for _ in range(20):
            await gateway.client.get("/echo")

        assert len(failing.requests) == QUICK.consecutive
        assert gateway.directory is not None
        assert sorted(state.breaker for state in gateway.directory.states("echo")) == ["closed", "open"]

    async def test_without_instances_the_response_is_an_immediate_503_with_retry_after(self, plane: Plane) -> None:
        async with gateway_for_addresses([closed_port()], GatewaySetup(config=QUICK), plane) as gateway:
            answers = [await gateway.client.get("/echo") for _ in range(4)]
            problem = await answers[-1].json(content_type="application/problem+json")

        assert [answer.status for answer in answers] == [503] * 4
        assert answers[0].headers["Retry-After"] == "1"
        assert 50 <= int(answers[-1].headers["Retry-After"]) <= 60
        assert (problem["code"], problem["service"]) == ("service_unavailable", "echo")

    async def test_a_client_disconnect_does_not_count_against_the_instance(
        self, gateway: Gateway, healthy: Service, failing: Service
    ) -> None:
        async def thinking(request: ServiceRequest) -> None:
            await request.disconnected()

        failing.on("/echo/slow", thinking)
        healthy.on("/echo/slow", thinking)
        for number in range(1, 9):
            asking = asyncio.create_task(gateway.client.get("/echo/slow"))
            await until(lambda number=number: len(healthy.requests) + len(failing.requests) == number)
            asking.cancel()
            await until(lambda number=number: len(gateway.records) == number)

        assert gateway.directory is not None
        assert {state.breaker for state in gateway.directory.states("echo")} == {"closed"}

    async def test_an_instance_that_times_out_is_ejected(self, gateway: Gateway, failing: Service) -> None:
        async def thinking(request: ServiceRequest) -> None:
            await request.disconnected()

        failing.on("/slow", thinking)
        statuses = [(await gateway.client.get("/slow")).status for _ in range(12)]

        assert statuses.count(504) == QUICK.consecutive
