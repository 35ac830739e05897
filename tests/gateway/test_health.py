import asyncio

import pytest
from tests.gateway.scripted_upstreams import StubResponse, StubUpstream

from portico.gateway.health import ServiceDown, ServiceHealth
from portico.gateway.upstreams import UpstreamRequest, UpstreamResponse
from portico.testing.clock import ManualClock

TIMEOUT = 60.0


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


class BlockedUpstream(StubUpstream):
    """Responds only after every upstream of the barrier got a request."""

    def __init__(self, barrier: asyncio.Barrier) -> None:
        super().__init__(StubResponse(200))
        self._barrier = barrier

    async def send(self, request: UpstreamRequest, tried: set[str]) -> UpstreamResponse:
        await self._barrier.wait()
        return await super().send(request, tried)


class TestStates:
    async def test_each_service_is_ready_or_not(self, clock: ManualClock) -> None:
        upstreams = {
            "up": StubUpstream(StubResponse(200)),
            "unready": StubUpstream(StubResponse(503)),
            "gone": StubUpstream(None),
        }

        assert await ServiceHealth(upstreams, clock, timeout=TIMEOUT).states() == {
            "up": True,
            "unready": False,
            "gone": False,
        }
        assert upstreams["up"].requests[0].path == b"/health/ready"

    async def test_a_result_is_cached_for_one_second(self, clock: ManualClock) -> None:
        service = StubUpstream(StubResponse(200))
        services = ServiceHealth({"one": service}, clock, timeout=TIMEOUT)
        for wait in (0, 0.9, 0.2):
            clock.advance(wait)
            await services.states()

        assert len(service.requests) == 2

    async def test_services_are_checked_concurrently(self, clock: ManualClock) -> None:
        barrier = asyncio.Barrier(3)
        services = ServiceHealth({name: BlockedUpstream(barrier) for name in "abc"}, clock, timeout=TIMEOUT)

        async with asyncio.timeout(60):
            assert await services.states() == {"a": True, "b": True, "c": True}

    async def test_concurrent_callers_share_one_check(self, clock: ManualClock) -> None:
        service = StubUpstream(StubResponse(200))
        services = ServiceHealth({"one": service}, clock, timeout=TIMEOUT)
        await asyncio.gather(*(services.states() for _ in range(10)))

        assert len(service.requests) == 1

    async def test_a_cancelled_caller_does_not_cancel_the_check_for_others(self, clock: ManualClock) -> None:
        barrier = asyncio.Barrier(2)
        services = ServiceHealth({"one": BlockedUpstream(barrier)}, clock, timeout=TIMEOUT)
        first, second = (asyncio.create_task(services.states()) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await barrier.wait()

        assert await second == {"one": True}


class TestProbe:
    async def test_a_probe_of_an_unready_service_raises(self, clock: ManualClock) -> None:
        services = ServiceHealth(
            {"up": StubUpstream(StubResponse(200)), "gone": StubUpstream(None)}, clock, timeout=TIMEOUT
        )

        await services.probe("up")
        with pytest.raises(ServiceDown):
            await services.probe("gone")
