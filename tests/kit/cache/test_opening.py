from portico.kit.cache.memory import MemoryCache
from portico.kit.cache.opening import open_cache
from portico.kit.cache.redis import RedisCache
from portico.kit.settings import Settings


class TestOpenCache:
    def test_it_is_in_memory_by_default(self) -> None:
        assert isinstance(open_cache(Settings(), "catalog:identity:"), MemoryCache)

    async def test_and_in_redis_where_an_address_is_set(self) -> None:
        cache = open_cache(Settings(redis_url="redis://localhost:6379/0"), "catalog:identity:")
        await cache.aclose()

        assert isinstance(cache, RedisCache)
