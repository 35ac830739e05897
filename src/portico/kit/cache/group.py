"""Groups of cache entries that are invalidated together."""

from dataclasses import dataclass

from portico.kit.cache.base import Cache, Make


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
