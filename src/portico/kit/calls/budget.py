"""How many retries the calls made so far pay for."""

import math


class RetryBudget:
    """A token bucket filled by calls and drained by retries.

    Without it, a service in trouble gets every call as many times as retries are allowed, just when it can least bear
    it; with it, retries add at most `ratio` to the load.

    Args:
        ratio: Retries that each call pays for, above 0 and at most 1.
        burst: Retries that can be saved up; there are as many at the start.
    """

    __slots__ = ("_full", "_price", "_saved")

    def __init__(self, ratio: float = 0.2, burst: int = 10) -> None:
        self._price = math.ceil(1 / ratio)  # in calls: whole numbers do not drift
        self._full = self._saved = burst * self._price

    def called(self) -> None:
        """A first attempt is made."""
        if self._saved < self._full:
            self._saved += 1

    def spend(self) -> bool:
        """Whether one more retry is paid for; if so, it is taken."""
        if self._saved < self._price:
            return False
        self._saved -= self._price
        return True
