"""Rate limits counted in Redis, shared by several gateway processes."""

from collections.abc import Awaitable, Callable
from typing import cast

from redis.asyncio import BlockingConnectionPool, Redis

from portico.gateway.limits import MemoryLimiter, Rate, Verdict, check_rate
from portico.kit.cache.redis import REDIS_FAILURES, close_redis
from portico.kit.foundation.clock import Clock
from portico.kit.telemetry.logs import get_logger

logger = get_logger(__name__)

# Checks and counts in one round trip. The gateway passes the time, so that tests can control it. The clocks of the
# processes differ by far less than a window. A process whose clock is behind by up to one window counts in the stored
# window. If the stored window is further ahead, the clock was set back, and a new window begins.
TAKE = """
local requests, seconds, now = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local index = math.floor(now / seconds)
local stored = redis.call('HMGET', KEYS[1], 'index', 'current', 'previous')
local at, current, previous = tonumber(stored[1] or 0), tonumber(stored[2] or 0), tonumber(stored[3] or 0)
if index == at - 1 then
  index = at
  now = at * seconds
elseif index ~= at then
  if index == at + 1 then previous = current else previous = 0 end
  current = 0
end
local left = seconds - (now - index * seconds)
if previous * left / seconds + current + 1 <= requests then
  redis.call('HSET', KEYS[1], 'index', index, 'current', current + 1, 'previous', previous)
  redis.call('PEXPIRE', KEYS[1], seconds * 2000)
end
return {previous, current, index}
"""

TIMEOUT = 0.25
MAX_CONNECTIONS = 16  # one check takes about 0.1 ms
RETRY_AFTER_FAILURE = 1.0


class RedisLimiter:
    """Limiter that counts in Redis. While Redis is down, each process counts for itself.

    Args:
        redis: The client; closed with the limiter.
        clock: Source of the time.
        prefix: Prefix of all keys, because systems may share a server.
        on_fallback: Called for each request that was counted in this process instead.
    """

    def __init__(
        self, redis: "Redis", clock: Clock, *, prefix: str, on_fallback: Callable[[], None] = lambda: None
    ) -> None:
        self._redis = redis
        self._clock = clock
        self._prefix = prefix
        self._on_fallback = on_fallback
        self._local = MemoryLimiter(clock)
        self._down_until = 0.0
        self._is_down = False
        self._script = redis.register_script(TAKE)

    @classmethod
    def to(
        cls,
        url: str,
        clock: Clock,
        *,
        prefix: str,
        on_fallback: Callable[[], None] = lambda: None,
        timeout: float = TIMEOUT,
    ) -> "RedisLimiter":
        """Create a limiter with its own bounded connection pool.

        Args:
            url: `redis://` or `rediss://`.
            clock: Source of the time.
            prefix: Prefix of all keys.
            on_fallback: Called for each request that was counted in this process instead.
            timeout: Seconds to wait for a connection, and for a reply.
        """
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=MAX_CONNECTIONS,
            timeout=timeout,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
        )
        return cls(Redis.from_pool(pool), clock, prefix=prefix, on_fallback=on_fallback)

    async def take(self, rate: Rate, key: str) -> Verdict:
        # While Redis is down, trying it for each request would add the time-out to every request.
        if self._clock.monotonic() < self._down_until:
            return self._take_locally(rate, key)
        try:
            verdict = await self._take(rate, key)
        except REDIS_FAILURES as error:
            self._down_until = self._clock.monotonic() + RETRY_AFTER_FAILURE
            if not self._is_down:
                self._is_down = True
                logger.warning("rate_limit_fallback_started", reason=type(error).__name__)
            return self._take_locally(rate, key)
        if self._is_down:
            self._is_down = False
            logger.info("rate_limit_fallback_ended")
        return verdict

    def bucket(self, rate: Rate, key: str) -> None:
        """Return None: counting needs I/O."""

    async def aclose(self) -> None:
        await close_redis(self._redis)

    def _take_locally(self, rate: Rate, key: str) -> Verdict:
        self._on_fallback()
        return self._local.bucket(rate, key).take()

    async def _take(self, rate: Rate, key: str) -> Verdict:
        now = self._clock.now().timestamp()
        reply = self._script(
            keys=[f"{self._prefix}:rate:{rate.seconds}:{key}"], args=[rate.requests, rate.seconds, f"{now:.6f}"]
        )
        previous, current, index = await cast("Awaitable[list[int]]", reply)
        return check_rate(rate, max(now, float(index * rate.seconds)), previous, current)
