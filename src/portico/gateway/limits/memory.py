"""Counting in this process."""

from portico.gateway.rates import Rate, Verdict, judge
from portico.kit.foundation.clock import Clock

MOST_KEYS = 100_000


class MemoryLimiter:
    """Counts in two dictionaries a rate, this window's and the last one's: what is older is dropped as a whole.

    Args:
        clock: Tells the time.
        most_keys: Callers counted in a window of a rate. Beyond it the one seen first is forgotten: a flood of
            addresses can't fill the memory.
    """

    def __init__(self, clock: Clock, *, most_keys: int = MOST_KEYS) -> None:
        self._clock = clock
        self._most_keys = most_keys
        self._windows: dict[Rate, _Windows] = {}

    async def take(self, rate: Rate, key: str) -> Verdict:
        return self.take_now(rate, key)

    def take_now(self, rate: Rate, key: str) -> Verdict:
        """As `take`, for who can't wait."""
        now = self._clock.now().timestamp()
        windows = self._windows.get(rate)
        if windows is None:
            windows = self._windows[rate] = _Windows()
        windows.turn_to(int(now // rate.seconds))
        current = windows.current.get(key, 0)
        verdict = judge(rate, now, windows.previous.get(key, 0), current)
        if verdict.allowed:
            if not current and len(windows.current) >= self._most_keys:
                del windows.current[next(iter(windows.current))]
            windows.current[key] = current + 1
        return verdict

    async def aclose(self) -> None:
        self._windows.clear()


class _Windows:
    __slots__ = ("current", "index", "previous")

    def __init__(self) -> None:
        self.index = 0
        self.current: dict[str, int] = {}
        self.previous: dict[str, int] = {}

    def turn_to(self, index: int) -> None:
        if index > self.index:
            self.previous = self.current if index == self.index + 1 else {}
            self.current = {}
            self.index = index
