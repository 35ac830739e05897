from portico.kit.cache.base import Cache, Make


class CacheGroup:
    """Entries that are forgotten together: every page of a list, once a row of it has changed.

    Each entry's key holds the group's number, and forgetting counts it up: what was made from the old state lies under
    a number that nobody asks for any more, whenever it is stored.

    Args:
        cache: Where the entries are.
        name: The group's, unique in the cache.
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

    async def forget(self) -> None:
        """Forget every entry. To be called after the commit that made them out of date."""
        await self._cache.incr(self._name)
