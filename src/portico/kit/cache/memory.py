"""Cache in memory."""

from collections import OrderedDict
from typing import NamedTuple

from portico.kit.cache.base import Cache, Entry
from portico.kit.foundation.clock import Clock

_OVERHEAD = 200  # bytes of an entry besides its key and value


class MemoryCache(Cache):
    """A cache in this process that evicts the least recently used entries.

    Args:
        max_bytes: maximum size of all entries, including their overhead.
        max_entries: maximum number of entries.
        clock: the current time.
    """

    def __init__(
        self, *, max_bytes: int = 32 * 1024 * 1024, max_entries: int = 10_000, clock: Clock | None = None
    ) -> None:
        super().__init__()
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._clock = clock or Clock()
        self._entries: OrderedDict[str, _Stored] = OrderedDict()
        self._counts: OrderedDict[str, int] = OrderedDict()
        self.bytes = 0

    async def set(self, key: str, value: bytes, ttl: float) -> None:
        self._drop(key)
        size = len(key) + len(value) + _OVERHEAD
        if size > self._max_bytes or ttl <= 0:
            return
        self._entries[key] = _Stored(value, self._clock.monotonic() + ttl, size)
        self.bytes += size
        while self.bytes > self._max_bytes or len(self._entries) > self._max_entries:
            self._drop(next(iter(self._entries)))

    async def incr(self, key: str) -> int:
        number = self._counts.pop(key, int(self._clock.monotonic() * 1000)) + 1
        self._counts[key] = number
        if len(self._counts) > self._max_entries:
            self._counts.popitem(last=False)
        return number

    async def count(self, key: str) -> int | None:
        return self._counts.get(key)

    async def check(self) -> None:
        """Do nothing: memory is always available."""

    async def aclose(self) -> None:
        self._entries.clear()
        self._counts.clear()
        self.bytes = 0

    async def _find(self, key: str) -> Entry | None:
        stored = self._entries.get(key)
        if stored is None:
            return None
        remaining = stored.expires_at - self._clock.monotonic()
        if remaining <= 0:
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return Entry(stored.value, remaining)

    async def _remove(self, keys: tuple[str, ...]) -> None:
        for key in keys:
            self._drop(key)

    def _drop(self, key: str) -> None:
        stored = self._entries.pop(key, None)
        if stored is not None:
            self.bytes -= stored.size


class _Stored(NamedTuple):
    value: bytes
    expires_at: float
    size: int
