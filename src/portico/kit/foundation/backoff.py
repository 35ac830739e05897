"""Exponential backoff with jitter: how long to wait between attempts. Every retry in Portico uses it."""

import random
from collections.abc import Callable
from dataclasses import dataclass

_MAX_DOUBLINGS = 60  # a float holds 2 ** 1023; the limit is reached long before


@dataclass(frozen=True, slots=True)
class Backoff:
    """A delay that doubles with every consecutive failure up to a limit, with a random part.

    The random part keeps callers that failed together from retrying together.

    Args:
        base: maximum delay (seconds) after the first failure.
        limit: maximum delay (seconds) after any number of failures.
        jitter: random share of the delay: 0 for none, 0.5 for half, 1 for all of it ("full jitter").
        draw: returns a random number from 0 to 1.
    """

    base: float
    limit: float
    jitter: float = 0.5
    draw: Callable[[], float] = random.random

    def delay(self, failures: int, retry_after: float | None = None) -> float:
        """Return the delay (seconds) after `failures` consecutive failures (1 or more).

        The delay is at least `retry_after`, the seconds that the other side requested, but never above `limit`.
        """
        longest = min(self.limit, self.base * 2.0 ** min(max(failures - 1, 0), _MAX_DOUBLINGS))
        delay = longest * (1 - self.jitter + self.jitter * self.draw())
        return max(delay, min(retry_after or 0.0, self.limit))
