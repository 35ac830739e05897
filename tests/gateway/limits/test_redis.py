from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest
from redis.asyncio import Redis
from tests.gateway.limits.contract import FIVE, LimiterContract

from portico.gateway.redis_limits import RedisLimiter
from portico.servers import RedisServer
from portico.testing.clock import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


class TestRedisLimiter(LimiterContract):
    @pytest.fixture
    async def limiter(self, clock: ManualClock, redis_url: str) -> AsyncIterator[RedisLimiter]:
        limiter = RedisLimiter.to(redis_url, clock, prefix="catalog:gateway", timeout=10.0)
        yield limiter
        await limiter.aclose()

    async def test_two_gateways_share_their_counts(
        self, limiter: RedisLimiter, clock: ManualClock, redis_url: str
    ) -> None:
        other = RedisLimiter.to(redis_url, clock, prefix="catalog:gateway", timeout=10.0)
        verdicts = [await one.take(FIVE, "ann") for one in (limiter, other) * 3]
        await other.aclose()

        assert [verdict.allowed for verdict in verdicts] == [True] * 5 + [False]

    async def test_a_gateway_whose_clock_is_behind_counts_in_the_same_window(
        self, limiter: RedisLimiter, clock: ManualClock, redis_url: str
    ) -> None:
        late = ManualClock(clock.now() - timedelta(seconds=2))
        other = RedisLimiter.to(redis_url, late, prefix="catalog:gateway", timeout=10.0)
        verdicts = [await one.take(FIVE, "ann") for one in (limiter, other) * 3]
        await other.aclose()

        assert [verdict.allowed for verdict in verdicts] == [True] * 5 + [False]
        assert verdicts[-1].retry_after <= 120

    async def test_two_systems_on_one_server_are_counted_separately(
        self, limiter: RedisLimiter, clock: ManualClock, redis_url: str
    ) -> None:
        other = RedisLimiter.to(redis_url, clock, prefix="shop:gateway", timeout=10.0)
        for _ in range(6):
            await limiter.take(FIVE, "ann")
        verdict = await other.take(FIVE, "ann")
        await other.aclose()

        assert verdict.allowed

    async def test_has_no_bucket_that_counts_without_io(self, limiter: RedisLimiter) -> None:
        assert limiter.bucket(FIVE, "ann") is None

    async def test_counts_expire(self, limiter: RedisLimiter) -> None:
        await limiter.take(FIVE, "ann")

        (key,) = await limiter._redis.keys("*")
        assert 0 < await limiter._redis.pttl(key) <= 120_000


class TestWithoutRedis:
    async def test_each_process_counts_for_itself_while_redis_is_down(self, clock: ManualClock) -> None:
        fallbacks: list[int] = []
        limiter = RedisLimiter.to(
            "redis://127.0.0.1:1", clock, prefix="x", timeout=10.0, on_fallback=lambda: fallbacks.append(1)
        )

        verdicts = [await limiter.take(FIVE, "ann") for _ in range(6)]
        await limiter.aclose()

        assert [verdict.allowed for verdict in verdicts] == [True] * 5 + [False]
        assert len(fallbacks) == 6

    async def test_a_connection_that_closes_during_use_falls_back(self, clock: ManualClock) -> None:
        class Ending(Redis):
            async def evalsha(self, *_: Any) -> Any:  # type: ignore[override]  # whatever it is given
                raise RuntimeError("unable to perform operation on <TCPTransport>; the handler is closed")

        limiter = RedisLimiter(Ending(), clock, prefix="x")

        assert (await limiter.take(FIVE, "ann")).allowed

    async def test_redis_is_tried_again_after_a_second(
        self, clock: ManualClock, start_server: Callable[..., Any]
    ) -> None:
        server = start_server(RedisServer)
        fallbacks: list[int] = []
        limiter = RedisLimiter.to(
            server.url(), clock, prefix="x", timeout=10.0, on_fallback=lambda: fallbacks.append(1)
        )
        await limiter.take(FIVE, "ann")
        server.kill()
        await limiter.take(FIVE, "ann")
        server.restart()
        still_away = await limiter.take(FIVE, "ann")
        clock.advance(1)
        back = await limiter.take(FIVE, "ann")
        await limiter.aclose()

        assert len(fallbacks) == 2
        assert (still_away.remaining, back.remaining) == (3, 4)
