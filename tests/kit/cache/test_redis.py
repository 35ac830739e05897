import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import redis.asyncio
from structlog.testing import capture_logs
from tests.contracts.cache import MAX_VALUE_BYTES, CacheContract, Maker, at_once, settled

from portico.kit.cache.base import Cache, CacheGroup, Entry
from portico.kit.cache.redis import RedisCache, close_redis
from portico.servers import RedisServer
from portico.testing.clock import ManualClock

PREFIX = "catalog:products:"
NOWHERE = "redis://127.0.0.1:1/0"


def grow_older(url: str, seconds: float) -> None:
    """Reduce the remaining time of every key, as if `seconds` had passed."""
    with redis.Redis.from_url(url) as plain:
        for key in plain.scan_iter():
            if (left := plain.pttl(key)) >= 0:
                plain.pexpire(key, max(0, int(left - seconds * 1000)))


@pytest.fixture
async def caches(redis_url: str) -> AsyncIterator[Callable[..., RedisCache]]:
    made: list[RedisCache] = []

    def make(prefix: str = PREFIX) -> RedisCache:
        made.append(RedisCache(redis_url, prefix, timeout=2.0, max_value=MAX_VALUE_BYTES))
        return made[-1]

    yield make
    for cache in made:
        await cache.aclose()


class TestRedisCache(CacheContract):
    @pytest.fixture
    def cache(self, caches: Callable[..., RedisCache], redis_url: str) -> RedisCache:
        self.url = redis_url
        return caches()

    async def pass_time(self, cache: Cache, seconds: float) -> None:
        grow_older(self.url, seconds)

    async def test_a_failed_computation_releases_its_claim(self, cache: RedisCache, maker: Maker) -> None:
        maker.error = LookupError("gone")
        maker.may_end.set()
        with pytest.raises(LookupError):
            await cache.get_or_make("key", maker, 60)

        with redis.Redis.from_url(self.url) as plain:
            assert plain.keys() == []

    async def test_services_have_separate_keys(self, caches: Callable[..., RedisCache]) -> None:
        await caches("catalog:identity:").set("key", b"theirs", 60)

        assert await caches().get("key") is None


class TestSeveralProcesses:
    async def test_one_process_computes_and_the_others_wait(
        self, caches: Callable[..., RedisCache], maker: Maker
    ) -> None:
        one, other = caches(), caches()
        making = asyncio.create_task(one.get_or_make("key", maker, 60))
        await maker.begun.wait()
        waiting = asyncio.create_task(other.get_or_make("key", at_once, 60))
        while not other._computations:  # noqa: ASYNC110 - until the computation has begun
            await asyncio.sleep(0)
        maker.may_end.set()

        assert await making == await waiting == b"made 1"

    async def test_a_value_stored_after_the_lookup_is_not_computed_again(
        self, caches: Callable[..., RedisCache], maker: Maker
    ) -> None:
        one, other = caches(), caches()
        looked, may_continue = asyncio.Event(), asyncio.Event()
        look = other._find

        async def slow_look(key: str) -> Entry | None:
            entry = await look(key)
            looked.set()
            await may_continue.wait()
            return entry

        other._find = slow_look  # type: ignore[method-assign] - the other process stores its value meanwhile
        waiting = asyncio.create_task(other.get_or_make("key", at_once, 60))
        await looked.wait()
        maker.may_end.set()
        made = await one.get_or_make("key", maker, 60)
        may_continue.set()

        assert await waiting == made == b"made 1"

    async def test_a_deletion_by_another_process_affects_a_computation(
        self, caches: Callable[..., RedisCache], maker: Maker
    ) -> None:
        one, other = caches(), caches()
        making = asyncio.create_task(one.get_or_make("key", maker, 60))
        await maker.begun.wait()
        await other.delete("key")
        maker.may_end.set()
        await making

        assert await other.get("key") is None

    async def test_others_get_the_old_value_during_a_refresh(
        self, caches: Callable[..., RedisCache], maker: Maker, redis_url: str
    ) -> None:
        one, other = caches(), caches()
        await one.set("key", b"old", 100)
        grow_older(redis_url, 95)
        making = asyncio.create_task(one.get_or_make("key", maker, 100))
        await maker.begun.wait()

        assert await other.get_or_make("key", at_once, 100) == b"old"
        maker.may_end.set()
        await making

    async def test_a_group_is_invalidated_for_all_processes(
        self, caches: Callable[..., RedisCache], maker: Maker
    ) -> None:
        one, other = CacheGroup(caches(), "products"), CacheGroup(caches(), "products")
        maker.may_end.set()
        await one.get_or_make("page", maker, 60)
        await other.invalidate()

        assert await one.get_or_make("page", at_once, 60) == b"at once"

    @pytest.fixture
    def maker(self) -> Maker:
        return Maker()


class SlowRedis(redis.asyncio.Redis):
    """A client whose connections do not close in time."""

    async def aclose(self, close_connection_pool: bool | None = None) -> None:  # noqa: FBT001  redis-py's signature
        raise redis.TimeoutError("Timed out closing connection")


class TestClosing:
    async def test_that_takes_too_long_is_logged_without_a_traceback(self) -> None:
        with capture_logs() as events:
            await close_redis(SlowRedis())

        [event] = events
        assert (event["event"], event["log_level"]) == ("redis_not_closed", "warning")
        assert event["error"] == "TimeoutError: Timed out closing connection"
        assert "exc_info" not in event


class TestUnavailable:
    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    async def test_every_lookup_is_a_miss_and_failures_are_logged_at_intervals(self, clock: ManualClock) -> None:
        cache = RedisCache(NOWHERE, PREFIX, clock=clock)
        with capture_logs() as events:
            await cache.set("key", b"value", 60)
            assert await cache.get("key") is None
            assert await cache.get_or_make("key", at_once, 60) == b"at once"
            await cache.delete("key")
        await cache.aclose()

        assert cache.failures >= 3
        assert [event["event"] for event in events] == ["cache_unavailable"]

    async def test_the_health_check_fails(self, clock: ManualClock) -> None:
        cache = RedisCache(NOWHERE, PREFIX, clock=clock)
        with pytest.raises(redis.ConnectionError):
            await cache.check()
        await cache.aclose()

    async def test_after_a_few_failures_it_is_not_used_for_a_while(self, clock: ManualClock) -> None:
        cache = RedisCache(NOWHERE, PREFIX, clock=clock)
        for _ in range(5):
            await cache.get("key")
        known_down = cache.failures
        clock.advance(1)
        await cache.get("key")
        await cache.aclose()

        assert (known_down, cache.failures) == (3, 4)

    async def test_concurrent_callers_share_one_computation(self, clock: ManualClock) -> None:
        cache = RedisCache(NOWHERE, PREFIX, clock=clock)
        group = CacheGroup(cache, "products")
        maker = Maker()
        for _ in range(3):
            await group.invalidate()
        callers = [asyncio.create_task(group.get_or_make("page", maker, 60)) for _ in range(10)]
        await settled()
        maker.may_end.set()
        outcomes = await asyncio.gather(*callers)
        await cache.aclose()

        assert set(outcomes) == {b"made 1"}

    async def test_it_is_used_again_when_it_is_available(
        self, clock: ManualClock, start_server: Callable[..., Any]
    ) -> None:
        server: RedisServer = start_server(RedisServer, durable=True)
        cache = RedisCache(server.url(), PREFIX, timeout=2.0, clock=clock)
        await cache.set("key", b"value", 60)
        server.kill()
        assert await cache.get("key") is None
        server.restart()
        clock.advance(1)

        assert await cache.get("key") == b"value"
        await cache.aclose()

    async def test_failed_deletions_are_executed_first(
        self, clock: ManualClock, start_server: Callable[..., Any]
    ) -> None:
        server: RedisServer = start_server(RedisServer, durable=True)
        cache = RedisCache(server.url(), PREFIX, timeout=2.0, clock=clock)
        group = CacheGroup(cache, "products")
        await cache.set("deleted", b"old", 60)
        await cache.set("replaced", b"old", 60)
        await cache.set("kept", b"value", 60)
        old = Maker()
        old.may_end.set()
        await group.get_or_make("page", old, 60)
        server.kill()
        await cache.delete("deleted")
        await cache.set("replaced", b"new", 60)
        await group.invalidate()
        server.restart()
        clock.advance(1)

        assert [await cache.get(key) for key in ("deleted", "replaced", "kept")] == [None, None, b"value"]
        assert await group.get_or_make("page", at_once, 60) == b"at once"
        await cache.aclose()
