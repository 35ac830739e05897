"""Budget for retries, proportional to the number of calls."""

import math


class RetryBudget:
    """A token bucket that calls fill and retries drain.

    Without it, an overloaded service would receive each call several times. With it, retries add at most `ratio` to the
    load.

    Args:
        ratio: number of retries that each call adds, above 0 and at most 1.
        burst: maximum number of retries that can be saved; the bucket starts full.
    """

    __slots__ = ("_capacity", "_price", "_tokens")

    def __init__(self, ratio: float = 0.2, burst: int = 10) -> None:
        self._price = math.ceil(1 / ratio)  # in calls; integers do not drift
        self._capacity = self._tokens = burst * self._price

    def called(self) -> None:
        """Record a first attempt."""
        if self._tokens < self._capacity:
            self._tokens += 1

    def spend(self) -> bool:
        """Take one retry from the budget. Return whether there was one."""
        if self._tokens < self._price:
            return False
        self._tokens -= self._price
        return True
