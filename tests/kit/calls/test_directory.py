import asyncio
from collections import Counter

import pytest

from portico.kit.calls.addresses import DnsName, InstanceAddress, LookupFailed, Resolution, SrvName
from portico.kit.calls.breaker import BreakerConfig, BreakerState
from portico.kit.calls.directory import Directory, Pool
from portico.kit.calls.errors import BreakerOpen, Unreachable
from portico.testing.clock import ManualClock

TWO = "http://user-1:8001,http://user-2:8001"


class Registry:
    """A resolver with scripted results."""

    def __init__(self, *hosts: str) -> None:
        self.hosts_now: tuple[str, ...] = hosts
        self.asked = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def hosts(self, name: DnsName) -> Resolution:
        self.asked += 1
        await self.may_answer.wait()
        if not self.hosts_now:
            raise LookupFailed("down")
        return Resolution(tuple(InstanceAddress("http", host, name.port, name.host) for host in self.hosts_now), 5.0)

    async def services(self, name: SrvName) -> Resolution:
        self.asked += 1
        return Resolution(tuple(InstanceAddress("http", host, 1, host, int(host[-1])) for host in self.hosts_now), 5.0)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def directory(clock: ManualClock, text: str = TWO, resolver: Registry | None = None) -> Directory:
    config = BreakerConfig(consecutive=1, open_for=5)
    return Directory({"user": text}, config=config, resolver=resolver, monotonic=clock.monotonic)


def hosts(pool: Pool | None) -> list[str]:
    assert pool is not None
    return [instance.address.host for instance in pool.instances]


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class TestBalancing:
    async def test_idle_instances_take_turns(self, clock: ManualClock) -> None:
        known = directory(clock)
        chosen: Counter[str] = Counter()
        for _ in range(10):
            with await known.lease("user") as lease:
                chosen[lease.instance.address.host] += 1
                lease.record_success()

        assert chosen == {"user-1": 5, "user-2": 5}

    async def test_the_least_busy_instance_is_chosen(self, clock: ManualClock) -> None:
        known = directory(clock)
        busy = await known.lease("user")
        others = [await known.lease("user") for _ in range(1)]
        others[0].record_success()

        assert (await known.lease("user")).instance is not busy.instance

    async def test_an_instance_already_tried_is_avoided(self, clock: ManualClock) -> None:
        known = directory(clock)
        for _ in range(4):
            assert (await known.lease("user", avoiding={"http://user-1:8001"})).instance.address.host == "user-2"

    async def test_an_instance_already_tried_is_used_if_there_is_no_other(self, clock: ManualClock) -> None:
        known = directory(clock, "http://user-1:8001")

        assert (await known.lease("user", avoiding={"http://user-1:8001"})).instance.address.host == "user-1"

    async def test_a_better_priority_is_preferred_while_it_works(self, clock: ManualClock) -> None:
        known = directory(clock, "srv://user", Registry("a1", "b2"))
        leases = [await known.lease("user") for _ in range(3)]
        assert {lease.instance.address.host for lease in leases} == {"a1"}

        leases[0].record_failure()

        assert (await known.lease("user")).instance.address.host == "b2"


class TestEjection:
    async def test_a_failing_instance_gets_no_more_calls(self, clock: ManualClock) -> None:
        known = directory(clock)
        failing = await known.lease("user")
        failing.record_failure()

        chosen = {(await known.lease("user")).instance.address.host for _ in range(5)}

        assert failing.instance.address.host not in chosen

    async def test_a_successful_trial_restores_it(self, clock: ManualClock) -> None:
        known = directory(clock)
        failing = await known.lease("user")
        failing.record_failure()
        clock.advance(5)

        chosen = {(await known.lease("user")).instance.address.host for _ in range(4)}

        assert failing.instance.address.host in chosen

    async def test_if_all_fail_the_error_has_retry_after(self, clock: ManualClock) -> None:
        known = directory(clock)
        (await known.lease("user")).record_failure()
        clock.advance(2)
        (await known.lease("user")).record_failure()

        with pytest.raises(BreakerOpen) as refusal:
            await known.lease("user")

        assert refusal.value.retry_after == 3
        assert [state.breaker for state in known.states("user")] == [BreakerState.OPEN, BreakerState.OPEN]

    async def test_a_probe_is_let_through_if_all_fail_and_restores_the_instance(self, clock: ManualClock) -> None:
        known = directory(clock)
        for _ in range(2):
            (await known.lease("user")).record_failure()

        probe = await known.lease("user", probe=True)
        probe.record_success()

        assert (await known.lease("user")).instance is probe.instance

    async def test_a_probe_prefers_a_working_instance(self, clock: ManualClock) -> None:
        known = directory(clock)
        failing = await known.lease("user")
        failing.record_failure()

        chosen = [(await known.lease("user", probe=True)).instance for _ in range(4)]

        assert failing.instance not in chosen

    async def test_leaving_the_block_without_an_outcome_frees_the_instance(self, clock: ManualClock) -> None:
        known = directory(clock)
        with await known.lease("user"):
            assert sum(state.in_flight for state in known.states()) == 1

        assert sum(state.in_flight for state in known.states()) == 0


class TestLookups:
    async def test_every_address_of_a_name_is_an_instance(self, clock: ManualClock) -> None:
        known = directory(clock, "dns://user:8001", Registry("10.0.0.1", "10.0.0.2"))

        pool = await known.pool("user")

        assert hosts(pool) == ["10.0.0.1", "10.0.0.2"]

    async def test_concurrent_callers_share_one_lookup(self, clock: ManualClock) -> None:
        registry = Registry("10.0.0.1")
        known = directory(clock, "dns://user:8001", registry)

        await asyncio.gather(*(known.lease("user") for _ in range(10)))

        assert registry.asked == 1

    async def test_a_cancelled_caller_does_not_cancel_the_lookup(self, clock: ManualClock) -> None:
        registry = Registry("10.0.0.1")
        registry.may_answer.clear()
        known = directory(clock, "dns://user:8001", registry)
        first, second = (asyncio.create_task(known.lease("user")) for _ in range(2))
        await settled()
        first.cancel()
        registry.may_answer.set()

        assert (await second).instance.address.host == "10.0.0.1"

    async def test_an_expired_result_is_used_during_the_next_lookup(self, clock: ManualClock) -> None:
        registry = Registry("10.0.0.1")
        known = directory(clock, "dns://user:8001", registry)
        await known.lease("user")
        registry.hosts_now = ("10.0.0.2",)
        clock.advance(5)

        assert hosts(await known.pool("user")) == ["10.0.0.1"]
        await settled()
        assert hosts(known.known("user")) == ["10.0.0.2"]

    async def test_a_remaining_instance_keeps_its_breaker(self, clock: ManualClock) -> None:
        registry = Registry("10.0.0.1")
        known = directory(clock, "dns://user:8001", registry)
        (await known.lease("user")).record_failure()
        registry.hosts_now = ("10.0.0.1", "10.0.0.2")
        clock.advance(4.9)
        await known.aclose()
        clock.advance(0.09)
        pool = await known.pool("user")
        pool.update([instance.address for instance in pool.instances])

        assert pool.states()[0].breaker is BreakerState.OPEN

    async def test_known_instances_are_used_while_the_registry_is_down(self, clock: ManualClock) -> None:
        registry = Registry("10.0.0.1")
        known = directory(clock, "dns://user:8001", registry)
        await known.lease("user")
        registry.hosts_now = ()
        clock.advance(5)
        await known.pool("user")
        await settled()

        assert hosts(await known.pool("user")) == ["10.0.0.1"]

    async def test_without_known_instances_the_service_is_unreachable_and_retried_soon(
        self, clock: ManualClock
    ) -> None:
        registry = Registry()
        known = directory(clock, "dns://user:8001", registry)
        with pytest.raises(Unreachable):
            await known.lease("user")
        with pytest.raises(Unreachable):
            await known.lease("user")
        assert registry.asked == 1
        registry.hosts_now = ("10.0.0.1",)
        clock.advance(1)

        assert (await known.lease("user")).instance.address.host == "10.0.0.1"

    async def test_a_static_address_is_used_without_the_name(self, clock: ManualClock) -> None:
        known = directory(clock, "http://user-1:8001,dns://user:8001", Registry())

        assert (await known.lease("user")).instance.address.host == "user-1"
        await known.aclose()

    async def test_a_service_without_an_address_is_unreachable(self, clock: ManualClock) -> None:
        with pytest.raises(Unreachable, match="no address is configured"):
            await directory(clock).lease("orders")

    async def test_closing_cancels_lookups(self, clock: ManualClock) -> None:
        registry = Registry("10.0.0.1")
        registry.may_answer.clear()
        known = directory(clock, "dns://user:8001", registry)
        caller = asyncio.create_task(known.lease("user"))
        await settled()

        await known.aclose()

        with pytest.raises(asyncio.CancelledError):
            await caller
