"""Exponential backoff with jitter: how long to wait between attempts. Every retry in Portico uses it."""

import random
from collections.abc import Callable
from dataclasses import dataclass

_MAX_EXPONENT = 60  # larger powers may overflow a float; the limit is reached long before


@dataclass(frozen=True, slots=True)
class Backoff:
    """A delay that grows with every consecutive failure up to a limit, with a random part.

    The random part keeps callers that failed together from retrying together.

    Args:
        base: maximum delay (seconds) after the first failure.
        limit: maximum delay (seconds) after any number of failures.
        jitter: random share of the delay: 0 for none, 0.5 for half, 1 for all of it ("full jitter").
        draw: returns a random number from 0 to 1.
        factor: how many times longer each further delay is.
    """

    base: float
    limit: float
    jitter: float = 0.5
    draw: Callable[[], float] = random.random
    factor: float = 2.0

    def delay(self, failures: int, retry_after: float | None = None) -> float:
        """Return the delay (seconds) after `failures` consecutive failures (1 or more).

        The delay is at least `retry_after`, the seconds that the other side requested, but never above `limit`.
        """
        longest = min(self.limit, self.base * self.factor ** min(max(failures - 1, 0), _MAX_EXPONENT))
        delay = longest * (1 - self.jitter + self.jitter * self.draw())
        return max(delay, min(retry_after or 0.0, self.limit))
