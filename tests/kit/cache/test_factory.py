import pytest
from structlog.testing import capture_logs

from portico.kit.cache.factory import open_cache, warn_if_unavailable
from portico.kit.cache.memory import MemoryCache
from portico.kit.cache.redis import RedisCache
from portico.kit.settings import Settings


class SlowCache(MemoryCache):
    """Does not respond in time to the first checks."""

    def __init__(self, timeouts: int) -> None:
        super().__init__()
        self._timeouts = timeouts

    async def check(self) -> None:
        self._timeouts -= 1
        if self._timeouts >= 0:
            raise TimeoutError


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

    @pytest.mark.parametrize(("timeouts", "warnings"), [(3, []), (100, ["redis_unavailable"])])
    async def test_a_late_response_at_the_start_is_awaited(self, timeouts: int, warnings: list[str]) -> None:
        with capture_logs() as lines:
            await warn_if_unavailable(SlowCache(timeouts), "redis://127.0.0.1/0")

        assert [line["event"] for line in lines] == warnings

    async def test_logs_nothing_if_redis_responds(self, redis_url: str) -> None:
        cache = open_cache(Settings(redis_url=redis_url), "catalog:identity:")
        with capture_logs() as lines:
            await warn_if_unavailable(cache, redis_url)
        await cache.aclose()

        assert lines == []
