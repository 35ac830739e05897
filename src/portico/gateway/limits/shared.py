"""Counting in Redis, so that several gateways count together."""

from collections.abc import Awaitable, Callable
from typing import cast

from redis.asyncio import BlockingConnectionPool, Redis

from portico.gateway.limits.memory import MemoryLimiter
from portico.gateway.rates import Rate, Verdict, judge
from portico.kit.cache.redis import REDIS_FAILURES
from portico.kit.foundation.clock import Clock
from portico.kit.telemetry.logs import get_logger

log = get_logger(__name__)

# Decides and counts in one round trip. The time is the caller's, so that every step can be tested by a held clock; the
# processes' clocks differ by far less than a window.
TAKE = """
local requests, seconds, now = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local index = math.floor(now / seconds)
local held = redis.call('HMGET', KEYS[1], 'index', 'current', 'previous')
local at, current, previous = tonumber(held[1] or 0), tonumber(held[2] or 0), tonumber(held[3] or 0)
if index > at then
  if index == at + 1 then previous = current else previous = 0 end
  current = 0
end
local left = seconds - (now - index * seconds)
if previous * left / seconds + current + 1 <= requests then
  redis.call('HSET', KEYS[1], 'index', math.max(index, at), 'current', current + 1, 'previous', previous)
  redis.call('PEXPIRE', KEYS[1], seconds * 2000)
end
return {previous, current}
"""

PATIENCE = 0.25
MOST_CONNECTIONS = 16  # an answer takes a tenth of a millisecond
AFTER_FAILURE = 1.0


class RedisLimiter:
    """Counts in Redis. While Redis is away each process counts for itself, and says so.

    Args:
        redis: Where to count; closed with the limiter.
        clock: Tells the time.
        prefix: What the keys begin with: systems share a server.
        on_fallback: Told each time a request was counted here instead.
    """

    def __init__(
        self, redis: "Redis", clock: Clock, *, prefix: str, on_fallback: Callable[[], None] = lambda: None
    ) -> None:
        self._redis = redis
        self._clock = clock
        self._prefix = prefix
        self._on_fallback = on_fallback
        self._alone = MemoryLimiter(clock)
        self._away_until = 0.0
        self._away = False
        self._script = redis.register_script(TAKE)

    @classmethod
    def to(
        cls,
        url: str,
        clock: Clock,
        *,
        prefix: str,
        on_fallback: Callable[[], None] = lambda: None,
        patience: float = PATIENCE,
    ) -> "RedisLimiter":
        """A limiter with a bounded pool of connections of its own.

        Args:
            url: `redis://` or `rediss://`.
            clock: Tells the time.
            prefix: What the keys begin with.
            on_fallback: Told each time a request was counted here instead.
            patience: Seconds to wait for a connection, and for an answer.
        """
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=MOST_CONNECTIONS,
            timeout=patience,
            socket_timeout=patience,
            socket_connect_timeout=patience,
        )
        return cls(Redis.from_pool(pool), clock, prefix=prefix, on_fallback=on_fallback)

    async def take(self, rate: Rate, key: str) -> Verdict:
        # While Redis is away, asking each time would add the wait for it to every request.
        if self._clock.monotonic() < self._away_until:
            return self._take_alone(rate, key)
        try:
            verdict = await self._take(rate, key)
        except REDIS_FAILURES as error:
            self._away_until = self._clock.monotonic() + AFTER_FAILURE
            if not self._away:
                self._away = True
                log.warning("rate_limits_fell_back", reason=type(error).__name__)
            return self._take_alone(rate, key)
        if self._away:
            self._away = False
            log.info("rate_limits_shared_again")
        return verdict

    async def aclose(self) -> None:
        await self._redis.aclose()

    def _take_alone(self, rate: Rate, key: str) -> Verdict:
        self._on_fallback()
        return self._alone.take_now(rate, key)

    async def _take(self, rate: Rate, key: str) -> Verdict:
        now = self._clock.now().timestamp()
        answer = self._script(
            keys=[f"{self._prefix}:rate:{rate.seconds}:{key}"], args=[rate.requests, rate.seconds, f"{now:.6f}"]
        )
        previous, current = await cast("Awaitable[list[int]]", answer)
        return judge(rate, now, previous, current)
