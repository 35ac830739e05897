import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.contracts.cache import MAX_VALUE_BYTES, CacheContract

from portico.kit.cache.base import Cache
from portico.kit.cache.memory import MemoryCache
from portico.testing.clock import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


class TestMemoryCache(CacheContract):
    @pytest.fixture
    def cache(self, clock: ManualClock) -> MemoryCache:
        self.clock = clock
        return MemoryCache(max_bytes=MAX_VALUE_BYTES * 2, clock=clock)

    async def pass_time(self, cache: Cache, seconds: float) -> None:
        self.clock.advance(seconds)

    async def test_evicts_the_least_recently_used(self, clock: ManualClock) -> None:
        cache = MemoryCache(max_entries=2, clock=clock)
        await cache.set("a", b"", 60)
        await cache.set("b", b"", 60)
        await cache.get("a")
        await cache.set("c", b"", 60)

        assert [await cache.get(key) for key in ("a", "b", "c")] == [b"", None, b""]

    async def test_a_lost_counter_continues_with_a_higher_number(self, clock: ManualClock) -> None:
        cache = MemoryCache(max_entries=1, clock=clock)
        before = await cache.incr("a")
        await cache.incr("b")
        clock.advance(1)

        assert await cache.count("a") is None
        assert await cache.incr("a") > before

    async def test_closing_removes_all_entries(self, cache: MemoryCache) -> None:
        await cache.set("key", b"value", 60)
        await cache.aclose()

        assert (await cache.get("key"), cache.bytes) == (None, 0)

    @given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 600), st.floats(0, 5))))
    async def test_its_size_stays_within_its_limits(self, steps: list[tuple[str, int, float]]) -> None:
        clock = ManualClock()
        cache = MemoryCache(max_bytes=1500, max_entries=4, clock=clock)
        for key, size, seconds in steps:
            await cache.set(key, b"x" * size, 3)
            assert cache.bytes <= 1500
            assert len(cache._entries) <= 4
            assert cache.bytes == sum(entry.size for entry in cache._entries.values())
            clock.advance(seconds)
            await cache.get(key)
