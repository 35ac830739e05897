"""Several instances of a service, some of them unwell."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from tests.gateway.proxy.gateways import Gateway, GatewaySetup, gateway_for_addresses
from tests.gateway.proxy.scripted_service import Service, ServiceRequest, until
from tests.gateway.proxy.servers import bound, served

from portico.kit.calls.breaker import BreakerConfig

QUICK = BreakerConfig(consecutive=3, open_for=60.0)


async def hang_up(request: ServiceRequest) -> None:
    """Close the connection without an answer."""
    transport = request.receive.__self__.transport
    transport.abort()
    await request.disconnected()


async def refuse(request: ServiceRequest) -> None:
    """Answer as a proxy does whose service is away."""
    await request.answer(503, b"<h1>503</h1>", (b"content-type", b"text/html"))


async def not_now(request: ServiceRequest) -> None:
    """Answer as a service does that can't do this one thing right now."""
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


@pytest.fixture
async def gateway(healthy: Service, failing: Service) -> AsyncIterator[Gateway]:
    """Before one instance that is healthy and one that the test makes unwell."""
    async with AsyncExitStack() as stack:
        addresses = [await stack.enter_async_context(served(app)) for app in (healthy, failing)]
        yield await stack.enter_async_context(gateway_for_addresses(addresses, GatewaySetup(config=QUICK)))


class TestBalancing:
    async def test_every_instance_gets_its_share(self, gateway: Gateway, healthy: Service, failing: Service) -> None:
        for _ in range(10):
            await gateway.client.get("/echo")

        assert (len(healthy.requests), len(failing.requests)) == (5, 5)

    async def test_a_busy_instance_gets_less(self, gateway: Gateway, healthy: Service, failing: Service) -> None:
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


class TestRepeating:
    async def test_a_read_is_sent_to_another_instance(self, gateway: Gateway, failing: Service) -> None:
        failing.on("/echo", hang_up)

        answers = [await (await gateway.client.get("/echo")).json() for _ in range(4)]

        assert {answer["service"] for answer in answers} == {"healthy"}
        assert max(record.attempts for record in gateway.records) == 2

    async def test_also_when_a_proxy_before_it_says_no(self, gateway: Gateway, failing: Service) -> None:
        failing.on("/echo", refuse)

        answers = [await gateway.client.get("/echo") for _ in range(4)]

        assert [answer.status for answer in answers] == [200] * 4

    async def test_a_services_own_refusal_is_its_answer(self, gateway: Gateway, failing: Service) -> None:
        failing.on("/echo", not_now)

        answers = [await gateway.client.get("/echo") for _ in range(8)]

        assert sorted(answer.status for answer in answers) == [200] * 4 + [503] * 4
        assert all(record.attempts == 1 for record in gateway.records)

    async def test_a_write_that_may_have_been_done_is_not_repeated(
        self, gateway: Gateway, healthy: Service, failing: Service
    ) -> None:
        failing.on("/echo", hang_up)

        answers = [await gateway.client.post("/echo", data=b"once") for _ in range(2)]
        problems = [await one.json(content_type=None) for one in answers if one.status != 200]

        assert sorted(answer.status for answer in answers) == [200, 502]
        assert problems[0]["code"] == "service_failed"
        assert (len(healthy.requests), len(failing.requests)) == (1, 1)

    async def test_a_write_that_was_never_sent_is(self, healthy: Service) -> None:
        async with served(healthy) as address, gateway_for_addresses([address, closed_port()]) as gateway:
            answers = [await gateway.client.post("/echo", data=b"once") for _ in range(4)]

        assert [answer.status for answer in answers] == [200] * 4
        assert len(healthy.requests) == 4

    async def test_nothing_is_repeated_once_bytes_were_sent_on(self, gateway: Gateway, failing: Service) -> None:
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

    async def test_repeats_are_a_fraction_of_the_load(self, failing: Service) -> None:
        failing.on("/echo", refuse)
        async with AsyncExitStack() as stack:
            addresses = [await stack.enter_async_context(served(failing)) for _ in range(2)]
            setup = GatewaySetup(config=BreakerConfig(consecutive=1000, least=1000))
            gateway = await stack.enter_async_context(gateway_for_addresses(addresses, setup))
            for _ in range(60):
                await gateway.client.get("/echo")

        assert len(failing.requests) <= 60 * 1.2 + 10


class TestEjection:
    async def test_an_instance_that_fails_is_left_alone(self, gateway: Gateway, failing: Service) -> None:
        failing.on("/echo", hang_up)
        for _ in range(20):
            await gateway.client.get("/echo")

        assert len(failing.requests) == QUICK.consecutive
        assert gateway.directory is not None
        assert sorted(state.breaker for state in gateway.directory.states("echo")) == ["closed", "open"]

    async def test_with_none_left_the_answer_is_immediate_and_says_when(self) -> None:
        async with gateway_for_addresses([closed_port()], GatewaySetup(config=QUICK)) as gateway:
            answers = [await gateway.client.get("/echo") for _ in range(4)]
            problem = await answers[-1].json(content_type="application/problem+json")

        assert [answer.status for answer in answers] == [503] * 4
        assert answers[0].headers["Retry-After"] == "1"
        assert 50 <= int(answers[-1].headers["Retry-After"]) <= 60
        assert (problem["code"], problem["service"]) == ("service_unavailable", "echo")

    async def test_a_client_that_leaves_says_nothing_of_the_instance(
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

    async def test_one_that_hangs_is_ejected(self, gateway: Gateway, failing: Service) -> None:
        async def thinking(request: ServiceRequest) -> None:
            await request.disconnected()

        failing.on("/slow", thinking)
        statuses = [(await gateway.client.get("/slow")).status for _ in range(12)]

        assert statuses.count(504) == QUICK.consecutive
