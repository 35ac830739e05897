from structlog.testing import capture_logs

from portico.kit.cache.memory import MemoryCache
from portico.kit.cache.opening import open_cache, tell_if_away
from portico.kit.cache.redis import RedisCache
from portico.kit.settings import Settings


class TestOpenCache:
    def test_it_is_in_memory_by_default(self) -> None:
        assert isinstance(open_cache(Settings(), "catalog:identity:"), MemoryCache)

    async def test_and_in_redis_where_an_address_is_set(self) -> None:
        cache = open_cache(Settings(redis_url="redis://localhost:6379/0"), "catalog:identity:")
        await cache.aclose()

        assert isinstance(cache, RedisCache)


class TestTellIfAway:
    async def test_tells_where_no_redis_answers_without_the_password(self) -> None:
        url = "redis://:secret@127.0.0.1:1/0"  # a port that nobody may have
        cache = open_cache(Settings(redis_url=url), "catalog:identity:")
        with capture_logs() as lines:
            await tell_if_away(cache, url)
        await cache.aclose()

        assert [(line["event"], line["address"]) for line in lines] == [
            ("redis_unavailable", "redis://:***@127.0.0.1:1/0")
        ]

    async def test_is_silent_where_one_does(self, redis_url: str) -> None:
        cache = open_cache(Settings(redis_url=redis_url), "catalog:identity:")
        with capture_logs() as lines:
            await tell_if_away(cache, redis_url)
        await cache.aclose()

        assert lines == []
