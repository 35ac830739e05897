"""Interface of caches, and the computation of missing values."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple

_EARLY = 0.1  # share of the time to live at the end of which one caller refreshes an entry

Make = Callable[[], Awaitable[bytes]]


class Entry(NamedTuple):
    """A cached value, and its remaining time to live (seconds)."""

    value: bytes
    remaining: float


class Computation:
    """One computation of a value, which concurrent callers wait for.

    `is_invalidated` is set if the key was deleted meanwhile: the value may be outdated and must not be stored.
    """

    def __init__(self) -> None:
        self.is_invalidated = False
        self._result: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()

    async def wait(self) -> bytes | None:
        """Return the value; None if its caller was cancelled and another must compute it.

        Raises the computation's error.
        """
        return await asyncio.shield(self._result)

    def finish(self, value: bytes | None) -> None:
        self._result.set_result(value)

    def fail(self, error: Exception) -> None:
        self._result.set_exception(error)
        self._result.exception()  # mark as retrieved: there may be no waiter


class Cache(ABC):
    """Values by key, with a time to live. A missing value is computed again: a cache never fails its caller.

    Keys are short strings, values are bytes, times to live are seconds.
    """

    def __init__(self) -> None:
        self._computations: dict[str, Computation] = {}

    async def get(self, key: str) -> bytes | None:
        """Return the value, or None."""
        entry = await self._find(key)
        return entry.value if entry is not None else None

    @abstractmethod
    async def set(self, key: str, value: bytes, ttl: float) -> None:
        """Store a value for `ttl` seconds. A value that is too large is not stored."""

    async def delete(self, *keys: str) -> None:
        """Delete values. Values being computed for these keys are not stored."""
        for key in keys:
            computation = self._computations.pop(key, None)
            if computation is not None:
                computation.is_invalidated = True
        await self._remove(keys)

    @abstractmethod
    async def incr(self, key: str) -> int:
        """Increment a counter and return it.

        The result is greater than all earlier results for this key, even if the counter was lost: it starts at the
        current time.
        """

    @abstractmethod
    async def count(self, key: str) -> int | None:
        """Return the last result of `incr`; None if unknown."""

    @abstractmethod
    async def check(self) -> None:
        """Raise an error if the cache cannot be used, for health checks."""

    @abstractmethod
    async def aclose(self) -> None:
        """Release resources."""

    async def get_or_make(self, key: str, make: Make, ttl: float) -> bytes:
        """Return the value, or compute it with `make` and store it for `ttl` seconds.

        One of several concurrent callers computes it, in its own task, because `make` may use objects of its request;
        the others wait. Shortly before an entry expires, one caller refreshes it while the others still get the old
        value, so that the expiry of a popular entry causes no stampede.
        """
        while True:
            entry = await self._find(key)
            computation = self._computations.get(key)
            if entry is not None and (entry.remaining > ttl * _EARLY or computation is not None):
                return entry.value
            if computation is None:
                return await self._compute(key, make, ttl, entry)
            if (value := await computation.wait()) is not None:
                return value

    async def _compute(self, key: str, make: Make, ttl: float, old: Entry | None) -> bytes:
        computation = self._computations[key] = Computation()
        try:
            value = await self._make(key, make, ttl, old, computation)
        except Exception as error:
            computation.fail(error)
            raise
        except BaseException:
            computation.finish(None)
            raise
        else:
            computation.finish(value)
            return value
        finally:
            if self._computations.get(key) is computation:
                del self._computations[key]

    async def _make(self, key: str, make: Make, ttl: float, old: Entry | None, computation: Computation) -> bytes:  # noqa: ARG002 - Redis uses `old`
        value = await make()
        if not computation.is_invalidated:
            await self.set(key, value, ttl)
        return value

    @abstractmethod
    async def _find(self, key: str) -> Entry | None: ...

    @abstractmethod
    async def _remove(self, keys: tuple[str, ...]) -> None: ...


class CacheGroup:
    """Entries that are invalidated together, such as all pages of a list when one row changes.

    An entry's key contains the group's number. Invalidating increments the number: entries computed from the old state
    have a number that is not used any more, whenever they are stored.

    Args:
        cache: stores the entries.
        name: name of the group, unique in the cache.
    """

    def __init__(self, cache: Cache, name: str) -> None:
        self._cache = cache
        self._name = name

    async def get_or_make(self, key: str, make: Make, ttl: float) -> bytes:
        """As `Cache.get_or_make`, within this group."""
        number = await self._cache.count(self._name)
        if number is None:
            number = await self._cache.incr(self._name)
        return await self._cache.get_or_make(f"{self._name}:{number}:{key}", make, ttl)

    async def invalidate(self) -> None:
        """Invalidate all entries. Call it after the commit that makes them outdated."""
        await self._cache.incr(self._name)


@dataclass(frozen=True, slots=True)
class CacheTag:
    """Tag of cached responses, such as those that show products. A change invalidates all responses with its tag.

    Args:
        name: unique within the service.
        seconds: time to live. It limits how long a response may be outdated if a process dies between its commit and
            the invalidation.
    """

    name: str
    seconds: float = 30.0
