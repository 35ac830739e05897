"""Cache in Redis, which may be unavailable."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from portico.kit.cache.base import Cache, Computation, Entry, Make
from portico.kit.foundation.clock import Clock
from portico.kit.telemetry.logs import get_logger

logger = get_logger(__name__)

T = TypeVar("T")

REDIS_FAILURES = (RedisError, OSError, RuntimeError)
"""Errors that mean that Redis is unavailable. uvloop raises RuntimeError if a connection ends while data is sent."""

_CONNECTIONS = 32
_TOLERATED = 3  # consecutive failures before it counts as down
_DOWN_FOR = 1.0  # seconds without commands once it is down, because each would take the time-out
_LOG_INTERVAL = 30.0  # seconds
_CLAIM = 10.0  # seconds that a process may take to compute a value
_POLL_INTERVAL = 0.02  # seconds between checks for a value that another process computes
_WAIT_LIMIT = 1.0  # seconds until it is computed here as well
_MAX_PENDING = 1024

_COUNT_UP = """
if redis.call('exists', KEYS[1]) == 0 then redis.call('set', KEYS[1], ARGV[1]) end
return redis.call('incr', KEYS[1])
"""
# Reads the value and claims its computation atomically: a value stored after this process has looked is found here. A
# value with a remaining time of ARGV[3] ms or less is the one to be replaced.
_FIND_OR_CLAIM = """
if redis.call('pttl', KEYS[1]) > tonumber(ARGV[3]) then return {0, redis.call('get', KEYS[1])} end
if redis.call('set', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return {1} end
return {0}
"""
_STORE_IF_CLAIMED = """
if redis.call('get', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('set', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('del', KEYS[2])
return 1
"""
_RELEASE = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"


class RedisCache(Cache):
    """A cache that processes share.

    While Redis is unavailable, every lookup is a miss; nothing fails, and failures are counted and logged at intervals.
    Redis is used again as soon as it responds. Deletions that failed meanwhile are executed first, so this process
    never reads values that it knows to be outdated. Other processes may read them until then, or until they expire.

    One of several processes that need the same value computes it, with a claim that expires. A value is stored only
    while its claim exists, and `delete` removes the claim.

    Args:
        url: `redis://`, `rediss://` or `unix://`.
        prefix: prefix of each key; one for each service of each system.
        timeout: time limit (seconds) for connecting and for each command.
        max_value: maximum size (bytes) of a value.
        clock: the current time.
    """

    def __init__(
        self,
        url: str,
        prefix: str,
        *,
        timeout: float = 0.05,
        max_value: int = 1024 * 1024,
        clock: Clock | None = None,
    ) -> None:
        super().__init__()
        self._prefix = prefix
        self._timeout = timeout
        self._max_value = max_value
        self._clock = clock or Clock()
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_CONNECTIONS,
            timeout=timeout,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 1),  # once, for an idle connection from before a restart of Redis
        )
        self._redis: Redis = Redis.from_pool(pool)
        self._consecutive_failures = 0
        self._down_until = self._log_after = float("-inf")
        self._pending: dict[str, _PendingWrite] = {}
        self.failures = 0

    async def set(self, key: str, value: bytes, ttl: float) -> None:
        if ttl <= 0 or len(value) > self._max_value:
            await self._remove_one(key)
        elif await self._execute(lambda: self._redis.set(self._value(key), value, px=_milliseconds(ttl))) is None:
            await self._remove_one(key)  # the existing value is outdated now

    async def incr(self, key: str) -> int:
        name = self._number(key)
        beginning = int(self._clock.now().timestamp() * 1000)

        def count_up() -> Awaitable[Any]:
            return self._redis.eval(_COUNT_UP, 1, name, beginning)

        number = await self._execute(count_up)
        if number is not None:
            return int(number)
        before = self._pending.get(name)
        beginning = max(beginning, before.number if before is not None else 0) + 1
        self._defer(name, _PendingWrite(count_up, beginning))
        return beginning

    async def count(self, key: str) -> int | None:
        number = await self._execute(lambda: self._redis.get(self._number(key)))
        if number is not None:
            return int(number)
        pending = self._pending.get(
            self._number(key)
        )  # while Redis is unavailable, callers of this process share values
        return pending.number if pending is not None else None

    async def check(self) -> None:
        async with asyncio.timeout(1.0):
            await self._redis.ping()

    async def aclose(self) -> None:
        await close_redis(self._redis)

    async def _find(self, key: str) -> Entry | None:
        async def look() -> tuple[bytes | None, int]:
            async with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.get(self._value(key))
                pipeline.pttl(self._value(key))
                value, remaining = await pipeline.execute()
                return value, remaining

        found = await self._execute(look)
        return Entry(found[0], found[1] / 1000) if found is not None and found[0] is not None else None

    async def _remove(self, keys: tuple[str, ...]) -> None:
        for key in keys:
            await self._remove_one(key)

    async def _remove_one(self, key: str) -> None:
        def remove() -> Awaitable[Any]:
            return self._redis.delete(self._value(key), self._claim(key))

        if await self._execute(remove) is None:
            self._defer(self._value(key), _PendingWrite(remove))

    async def _make(self, key: str, make: Make, ttl: float, old: Entry | None, computation: Computation) -> bytes:
        token = secrets.token_bytes(16)
        found = await self._claim_or_find(key, token, old)
        if found is not None:
            return found
        try:
            value = await make()
        except BaseException:
            await self._execute(lambda: self._redis.eval(_RELEASE, 1, self._claim(key), token))
            raise
        if len(value) <= self._max_value and not computation.is_invalidated:
            keys = self._value(key), self._claim(key)
            await self._execute(lambda: self._redis.eval(_STORE_IF_CLAIMED, 2, *keys, token, value, _milliseconds(ttl)))
        return value

    async def _claim_or_find(self, key: str, token: bytes, old: Entry | None) -> bytes | None:
        """Return the value that another process computed; None if this process has claimed the computation."""
        keys = self._value(key), self._claim(key)
        outdated = -1 if old is None else int(old.remaining * 1000)
        loop = asyncio.get_running_loop()
        wait_until = loop.time() + _WAIT_LIMIT
        while loop.time() < wait_until:
            claimed, *found = await self._execute(
                lambda: self._redis.eval(_FIND_OR_CLAIM, 2, *keys, token, _milliseconds(_CLAIM), outdated),
                otherwise=[1],
            ) or [1]
            if claimed:
                return None
            if found and found[0] is not None:
                return bytes(found[0])
            if old is not None:
                return old.value
            await asyncio.sleep(_POLL_INTERVAL)
        return None

    async def _execute(self, command: Callable[[], Awaitable[T]], otherwise: T | None = None) -> T | None:
        """Return the response of Redis, or `otherwise` while it is unavailable."""
        if self._clock.monotonic() < self._down_until:
            return otherwise
        try:
            await self._write_pending()
            answer = await command()
        except REDIS_FAILURES as error:
            self._failed(error)
            return otherwise
        self._consecutive_failures = 0
        return answer

    async def _write_pending(self) -> None:
        """Execute deletions that failed while Redis was unavailable."""
        while self._pending:
            key, pending = next(iter(self._pending.items()))
            await pending.invalidate()
            if self._pending.get(key) is pending:
                del self._pending[key]

    def _defer(self, key: str, pending: "_PendingWrite") -> None:
        self._pending.pop(key, None)
        self._pending[key] = pending
        if len(self._pending) > _MAX_PENDING:
            del self._pending[next(iter(self._pending))]

    def _failed(self, error: Exception) -> None:
        now = self._clock.monotonic()
        self.failures += 1
        self._consecutive_failures += 1
        if self._consecutive_failures >= _TOLERATED:
            self._down_until = now + _DOWN_FOR
        if now >= self._log_after:
            self._log_after = now + _LOG_INTERVAL
            logger.warning("cache_unavailable", error=type(error).__name__, failures=self.failures)

    def _value(self, key: str) -> str:
        return f"{self._prefix}v:{key}"

    def _number(self, key: str) -> str:
        return f"{self._prefix}n:{key}"

    def _claim(self, key: str) -> str:
        return f"{self._prefix}c:{key}"


async def close_redis(redis: Redis) -> None:
    """Close the connections to Redis. If one does not close in time, as on a busy machine, log it: no data is lost."""
    try:
        await redis.aclose()
    except REDIS_FAILURES as error:
        logger.warning("redis_not_closed", error=f"{type(error).__name__}: {error}")


class _PendingWrite(NamedTuple):
    """An operation on a key to execute when Redis is available, and the counter's value until then."""

    invalidate: Callable[[], Awaitable[Any]]
    number: int = 0


def _milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))
