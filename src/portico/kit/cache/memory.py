from collections import OrderedDict
from typing import NamedTuple

from portico.kit.cache.base import Cache, Entry
from portico.kit.foundation.clock import Clock

_OVERHEAD = 200  # bytes that an entry costs besides its key and value


class MemoryCache(Cache):
    """A cache in this process: the least recently used goes first.

    Args:
        max_bytes: What the entries may take together, their overhead included.
        max_entries: How many there may be.
        clock: The time.
    """

    def __init__(
        self, *, max_bytes: int = 32 * 1024 * 1024, max_entries: int = 10_000, clock: Clock | None = None
    ) -> None:
        super().__init__()
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._clock = clock or Clock()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._counts: OrderedDict[str, int] = OrderedDict()
        self.bytes = 0

    async def set(self, key: str, value: bytes, ttl: float) -> None:
        self._drop(key)
        size = len(key) + len(value) + _OVERHEAD
        if size > self._max_bytes or ttl <= 0:
            return
        self._kept[key] = _Kept(value, self._clock.monotonic() + ttl, size)
        self.bytes += size
        while self.bytes > self._max_bytes or len(self._kept) > self._max_entries:
            self._drop(next(iter(self._kept)))

    async def incr(self, key: str) -> int:
        number = self._counts.pop(key, int(self._clock.now().timestamp() * 1000)) + 1
        self._counts[key] = number
        if len(self._counts) > self._max_entries:
            self._counts.popitem(last=False)
        return number

    async def count(self, key: str) -> int | None:
        return self._counts.get(key)

    async def check(self) -> None:
        """Memory is always there."""

    async def aclose(self) -> None:
        self._kept.clear()
        self._counts.clear()
        self.bytes = 0

    async def _look(self, key: str) -> Entry | None:
        kept = self._kept.get(key)
        if kept is None:
            return None
        remaining = kept.ends_at - self._clock.monotonic()
        if remaining <= 0:
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return Entry(kept.value, remaining)

    async def _remove(self, keys: tuple[str, ...]) -> None:
        for key in keys:
            self._drop(key)

    def _drop(self, key: str) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self.bytes -= kept.size


class _Kept(NamedTuple):
    value: bytes
    ends_at: float
    size: int
