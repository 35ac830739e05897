"""Several instances of a service, some of them unwell."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from tests.gateway.proxy.running import Gateway, Setup, gateway_to_addresses
from tests.gateway.proxy.service import Asked, Service, until
from tests.gateway.proxy.serving import bound, served

from portico.kit.calls.breaker import BreakerConfig

QUICK = BreakerConfig(consecutive=3, open_for=60.0)


async def hang_up(asked: Asked) -> None:
    """Close the connection without an answer."""
    transport = asked.receive.__self__.transport
    transport.abort()
    await asked.disconnected()


async def refuse(asked: Asked) -> None:
    """Answer as a proxy does whose service is away."""
    await asked.answer(503, b"<h1>503</h1>", (b"content-type", b"text/html"))


async def not_now(asked: Asked) -> None:
    """Answer as a service does that can't do this one thing right now."""
    await asked.answer(503, b"{}", (b"content-type", b"application/problem+json"))


def closed_port() -> str:
    with bound() as broadcasts:
        host, port = broadcasts.getsockname()
    return f"{host}:{port}"


@pytest.fixture
def well() -> Service:
    return Service("well")


@pytest.fixture
def is_proxy_error() -> Service:
    return Service("unwell")


@pytest.fixture
async def gateway(well: Service, is_proxy_error: Service) -> AsyncIterator[Gateway]:
    """Before one instance that is well and one that the test makes unwell."""
    async with AsyncExitStack() as stack:
        addresses = [await stack.enter_async_context(served(app)) for app in (well, is_proxy_error)]
        yield await stack.enter_async_context(gateway_to_addresses(addresses, Setup(config=QUICK)))


class TestBalancing:
    async def test_every_instance_gets_its_share(
        self, gateway: Gateway, well: Service, is_proxy_error: Service
    ) -> None:
        for _ in range(10):
            await gateway.client.get("/echo")

        assert (len(well.asked), len(is_proxy_error.asked)) == (5, 5)

    async def test_a_busy_instance_gets_less(self, gateway: Gateway, well: Service, is_proxy_error: Service) -> None:
        go_on = asyncio.Event()

        async def busy(asked: Asked) -> None:
            await go_on.wait()
            await asked.answer(200)

        is_proxy_error.on("/echo", busy)
        waiting = [asyncio.create_task(gateway.client.get("/echo")) for _ in range(2)]
        await until(lambda: is_proxy_error.asked and gateway.records)
        for _ in range(6):
            await gateway.client.get("/echo")
        go_on.set()
        await asyncio.gather(*waiting)

        assert len(is_proxy_error.asked) == 1


class TestRepeating:
    async def test_a_read_is_sent_to_another_instance(self, gateway: Gateway, is_proxy_error: Service) -> None:
        is_proxy_error.on("/echo", hang_up)

        answers = [await (await gateway.client.get("/echo")).json() for _ in range(4)]

        assert {answer["service"] for answer in answers} == {"well"}
        assert max(record.tries for record in gateway.records) == 2

    async def test_also_when_a_proxy_before_it_says_no(self, gateway: Gateway, is_proxy_error: Service) -> None:
        is_proxy_error.on("/echo", refuse)

        answers = [await gateway.client.get("/echo") for _ in range(4)]

        assert [answer.status for answer in answers] == [200] * 4

    async def test_a_services_own_refusal_is_its_answer(self, gateway: Gateway, is_proxy_error: Service) -> None:
        is_proxy_error.on("/echo", not_now)

        answers = [await gateway.client.get("/echo") for _ in range(8)]

        assert sorted(answer.status for answer in answers) == [200] * 4 + [503] * 4
        assert all(record.tries == 1 for record in gateway.records)

    async def test_a_write_that_may_have_been_done_is_not_repeated(
        self, gateway: Gateway, well: Service, is_proxy_error: Service
    ) -> None:
        is_proxy_error.on("/echo", hang_up)

        answers = [await gateway.client.post("/echo", data=b"once") for _ in range(2)]
        problems = [await one.json(content_type=None) for one in answers if one.status != 200]

        assert sorted(answer.status for answer in answers) == [200, 502]
        assert problems[0]["code"] == "service_failed"
        assert (len(well.asked), len(is_proxy_error.asked)) == (1, 1)

    async def test_a_write_that_was_never_sent_is(self, well: Service) -> None:
        async with served(well) as address, gateway_to_addresses([address, closed_port()]) as gateway:
            answers = [await gateway.client.post("/echo", data=b"once") for _ in range(4)]

        assert [answer.status for answer in answers] == [200] * 4
        assert len(well.asked) == 4

    async def test_nothing_is_repeated_once_bytes_were_sent_on(self, gateway: Gateway, is_proxy_error: Service) -> None:
        async def half(asked: Asked) -> None:
            await asked.begin(200)
            await asked.write(b"half")
            await hang_up(asked)

        is_proxy_error.on("/echo", half)
        for _ in range(2):
            answer = await gateway.client.get("/echo")
            await asyncio.gather(answer.read(), return_exceptions=True)

        assert sorted(record.end for record in gateway.records) == ["broken", "complete"]
        assert all(record.tries == 1 for record in gateway.records)

    async def test_repeats_are_a_fraction_of_the_load(self, is_proxy_error: Service) -> None:
        is_proxy_error.on("/echo", refuse)
        async with AsyncExitStack() as stack:
            addresses = [await stack.enter_async_context(served(is_proxy_error)) for _ in range(2)]
            setup = Setup(config=BreakerConfig(consecutive=1000, least=1000))
            gateway = await stack.enter_async_context(gateway_to_addresses(addresses, setup))
            for _ in range(60):
                await gateway.client.get("/echo")

        assert len(is_proxy_error.asked) <= 60 * 1.2 + 10


class TestEjection:
    async def test_an_instance_that_fails_is_left_alone(self, gateway: Gateway, is_proxy_error: Service) -> None:
        is_proxy_error.on("/echo", hang_up)
        for _ in range(20):
            await gateway.client.get("/echo")

        assert len(is_proxy_error.asked) == QUICK.consecutive
        assert gateway.directory is not None
        assert sorted(state.breaker for state in gateway.directory.states("echo")) == ["closed", "open"]

    async def test_with_none_left_the_answer_is_immediate_and_says_when(self) -> None:
        async with gateway_to_addresses([closed_port()], Setup(config=QUICK)) as gateway:
            answers = [await gateway.client.get("/echo") for _ in range(4)]
            problem = await answers[-1].json(content_type="application/problem+json")

        assert [answer.status for answer in answers] == [503] * 4
        assert answers[0].headers["Retry-After"] == "1"
        assert 50 <= int(answers[-1].headers["Retry-After"]) <= 60
        assert (problem["code"], problem["service"]) == ("service_unavailable", "echo")

    async def test_a_client_that_leaves_says_nothing_of_the_instance(
        self, gateway: Gateway, well: Service, is_proxy_error: Service
    ) -> None:
        async def thinking(asked: Asked) -> None:
            await asked.disconnected()

        is_proxy_error.on("/echo/slow", thinking)
        well.on("/echo/slow", thinking)
        for number in range(1, 9):
            asking = asyncio.create_task(gateway.client.get("/echo/slow"))
            await until(lambda number=number: len(well.asked) + len(is_proxy_error.asked) == number)
            asking.cancel()
            await until(lambda number=number: len(gateway.records) == number)

        assert gateway.directory is not None
        assert {state.breaker for state in gateway.directory.states("echo")} == {"closed"}

    async def test_one_that_hangs_is_ejected(self, gateway: Gateway, is_proxy_error: Service) -> None:
        async def thinking(asked: Asked) -> None:
            await asked.disconnected()

        is_proxy_error.on("/slow", thinking)
        statuses = [(await gateway.client.get("/slow")).status for _ in range(12)]

        assert statuses.count(504) == QUICK.consecutive
