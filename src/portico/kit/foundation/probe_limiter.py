"""Limits probes of an instance whose circuit breaker is open."""

from collections.abc import Callable
from typing import Final


class ProbeLimiter:
    """Allows one probe per second.

    A call marked as a probe reaches an instance although its breaker is open, and closes the breaker if it succeeds.

    Args:
        monotonic: the clock, in seconds.
    """

    EVERY: Final = 1.0
    """Seconds between probes."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._next = float("-inf")

    def may_probe(self) -> bool:
        """Return whether this call may be a probe; further ones within the same second may not."""
        now = self._monotonic()
        if now < self._next:
            return False
        self._next = now + self.EVERY
        return True
