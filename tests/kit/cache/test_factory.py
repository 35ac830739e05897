from structlog.testing import capture_logs

from portico.kit.cache.factory import open_cache, warn_if_unavailable
from portico.kit.cache.memory import MemoryCache
from portico.kit.cache.redis import RedisCache
from portico.kit.settings import Settings


class TestOpenCache:
    def test_the_default_is_in_memory(self) -> None:
        assert isinstance(open_cache(Settings(), "catalog:identity:"), MemoryCache)

    async def test_redis_is_used_if_an_address_is_set(self) -> None:
        cache = open_cache(Settings(redis_url="redis://localhost:6379/0"), "catalog:identity:")
        await cache.aclose()

        assert isinstance(cache, RedisCache)


class TestWarnIfUnavailable:
    async def test_logs_an_unreachable_redis_without_its_password(self) -> None:
        url = "redis://:secret@127.0.0.1:1/0"  # a privileged port without a server
        cache = open_cache(Settings(redis_url=url), "catalog:identity:")
        with capture_logs() as lines:
            await warn_if_unavailable(cache, url)
        await cache.aclose()

        assert [(line["event"], line["address"]) for line in lines] == [
            ("redis_unavailable", "redis://:***@127.0.0.1:1/0")
        ]

    async def test_logs_nothing_if_redis_responds(self, redis_url: str) -> None:
        cache = open_cache(Settings(redis_url=redis_url), "catalog:identity:")
        with capture_logs() as lines:
            await warn_if_unavailable(cache, redis_url)
        await cache.aclose()

        assert lines == []
