"""A cache in Redis, which may be away."""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from portico.kit.cache.base import Cache, Entry, Flight, Make
from portico.kit.foundation.clock import Clock

log = logging.getLogger(__name__)

T = TypeVar("T")

REDIS_FAILURES = (RedisError, OSError, RuntimeError)
"""What it means that Redis is away. RuntimeError is uvloop's word for a connection that ends in the very moment in which
something is sent on it."""

_CONNECTIONS = 32
_TOLERATED = 3  # failures in a row before it counts as down
_DOWN_FOR = 1.0  # seconds without asking, once it is down: each try would cost its caller the time-out
_LOGGED_EVERY = 30.0  # seconds
_CLAIM = 10.0  # seconds that one process may take to make a value
_POLLED_EVERY = 0.02  # seconds between looks for what another process makes
_PATIENCE = 1.0  # seconds of that, before it is made here too
_MOST_OWED = 1024

_COUNT_UP = """
if redis.call('exists', KEYS[1]) == 0 then redis.call('set', KEYS[1], ARGV[1]) end
return redis.call('incr', KEYS[1])
"""
# Looks at the value and claims the making of it in one step: a value that was stored after this process had looked is
# found here and not made again. A value of ARGV[3] ms or less to live is the one that is to be replaced.
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

    While Redis is away everything is a miss: nothing fails, it is counted, and logged once in a while; it is used
    again as soon as it answers. What was to be forgotten meanwhile is forgotten first then, so that this process never
    reads what it knows to be out of date; entries live on for others until then, or until their time is over.

    Of processes that want the same value at once, one makes it, by a claim that ends by itself. A value is stored only
    while its maker still has the claim, and `delete` takes it away.

    Args:
        url: `redis://`, `rediss://` or `unix://`.
        prefix: Before each key; one for each service of each system.
        timeout: Seconds for connecting and for each command.
        max_value: Bytes beyond which a value is not kept.
        clock: The time.
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
            retry=Retry(NoBackoff(), 1),  # once: a connection that was idle while Redis restarted
        )
        self._redis: Redis = Redis.from_pool(pool)
        self._failures_in_a_row = 0
        self._down_until = self._log_after = float("-inf")
        self._owed: dict[str, _Owed] = {}
        self.failures = 0

    async def set(self, key: str, value: bytes, ttl: float) -> None:
        if ttl <= 0 or len(value) > self._max_value:
            await self._remove_one(key)
        elif await self._ask(lambda: self._redis.set(self._value(key), value, px=_milliseconds(ttl))) is None:
            await self._remove_one(key)  # what is there is out of date now

    async def incr(self, key: str) -> int:
        name = self._number(key)
        beginning = int(self._clock.now().timestamp() * 1000)

        def count_up() -> Awaitable[Any]:
            return self._redis.eval(_COUNT_UP, 1, name, beginning)

        number = await self._ask(count_up)
        if number is not None:
            return int(number)
        before = self._owed.get(name)
        beginning = max(beginning, before.number if before is not None else 0) + 1
        self._owe(name, _Owed(count_up, beginning))
        return beginning

    async def count(self, key: str) -> int | None:
        number = await self._ask(lambda: self._redis.get(self._number(key)))
        if number is not None:
            return int(number)
        owed = self._owed.get(self._number(key))  # while Redis is away: callers here go on sharing what is made
        return owed.number if owed is not None else None

    async def check(self) -> None:
        async with asyncio.timeout(1.0):
            await self._redis.ping()

    async def aclose(self) -> None:
        await self._redis.aclose()

    async def _look(self, key: str) -> Entry | None:
        async def look() -> tuple[bytes | None, int]:
            async with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.get(self._value(key))
                pipeline.pttl(self._value(key))
                value, remaining = await pipeline.execute()
                return value, remaining

        found = await self._ask(look)
        return Entry(found[0], found[1] / 1000) if found is not None and found[0] is not None else None

    async def _remove(self, keys: tuple[str, ...]) -> None:
        for key in keys:
            await self._remove_one(key)

    async def _remove_one(self, key: str) -> None:
        def remove() -> Awaitable[Any]:
            return self._redis.delete(self._value(key), self._claim(key))

        if await self._ask(remove) is None:
            self._owe(self._value(key), _Owed(remove))

    async def _make(self, key: str, make: Make, ttl: float, old: Entry | None, flight: Flight) -> bytes:
        token = secrets.token_bytes(16)
        found = await self._claim_or_find(key, token, old)
        if found is not None:
            return found
        try:
            value = await make()
        except BaseException:
            await self._ask(lambda: self._redis.eval(_RELEASE, 1, self._claim(key), token))
            raise
        if len(value) <= self._max_value and not flight.forgotten:
            keys = self._value(key), self._claim(key)
            await self._ask(lambda: self._redis.eval(_STORE_IF_CLAIMED, 2, *keys, token, value, _milliseconds(ttl)))
        return value

    async def _claim_or_find(self, key: str, token: bytes, old: Entry | None) -> bytes | None:
        """Return the value that another process made; None if this process has claimed the making."""
        keys = self._value(key), self._claim(key)
        outdated = -1 if old is None else int(old.remaining * 1000)
        loop = asyncio.get_running_loop()
        give_up = loop.time() + _PATIENCE
        while loop.time() < give_up:
            claimed, *found = await self._ask(
                lambda: self._redis.eval(_FIND_OR_CLAIM, 2, *keys, token, _milliseconds(_CLAIM), outdated),
                otherwise=[1],
            ) or [1]
            if claimed:
                return None
            if found and found[0] is not None:
                return bytes(found[0])
            if old is not None:
                return old.value
            await asyncio.sleep(_POLLED_EVERY)
        return None

    async def _ask(self, command: Callable[[], Awaitable[T]], otherwise: T | None = None) -> T | None:
        """What Redis answers, `otherwise` while it is away."""
        if self._clock.monotonic() < self._down_until:
            return otherwise
        try:
            await self._settle()
            answer = await command()
        except REDIS_FAILURES as error:
            self._failed(error)
            return otherwise
        self._failures_in_a_row = 0
        return answer

    async def _settle(self) -> None:
        """Forget what could not be forgotten while Redis was away."""
        while self._owed:
            key, owed = next(iter(self._owed.items()))
            await owed.forget()
            if self._owed.get(key) is owed:
                del self._owed[key]

    def _owe(self, key: str, owed: "_Owed") -> None:
        self._owed.pop(key, None)
        self._owed[key] = owed
        if len(self._owed) > _MOST_OWED:
            del self._owed[next(iter(self._owed))]

    def _failed(self, error: Exception) -> None:
        now = self._clock.monotonic()
        self.failures += 1
        self._failures_in_a_row += 1
        if self._failures_in_a_row >= _TOLERATED:
            self._down_until = now + _DOWN_FOR
        if now >= self._log_after:
            self._log_after = now + _LOGGED_EVERY
            log.warning(
                "the cache in Redis is away, going on without: %s (failure %d)", type(error).__name__, self.failures
            )

    def _value(self, key: str) -> str:
        return f"{self._prefix}v:{key}"

    def _number(self, key: str) -> str:
        return f"{self._prefix}n:{key}"

    def _claim(self, key: str) -> str:
        return f"{self._prefix}c:{key}"


class _Owed(NamedTuple):
    """What is to be done to a key as soon as Redis is back, and the number that stands for it until then."""

    forget: Callable[[], Awaitable[Any]]
    number: int = 0


def _milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))
