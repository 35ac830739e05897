"""How often a call may go to an instance that failed too often lately."""

from collections.abc import Callable
from typing import Final


class ProbeLimiter:
    """Lets one call in a second knock (see `Outgoing`): a breaker that opened again and again stays so for a minute.

    Args:
        monotonic: the time, in seconds.
    """

    EVERY: Final = 1.0
    """Seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._next = float("-inf")

    def may_probe(self) -> bool:
        """Whether this call may; the others of this second may not then."""
        now = self._monotonic()
        if now < self._next:
            return False
        self._next = now + self.EVERY
        return True
