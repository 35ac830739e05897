"""Shares of a limited resource, so that no client can hold all of it."""

from collections.abc import Iterator
from contextlib import contextmanager

from portico.kit.foundation.problems import Problem, TooManyRequests, Unavailable


class TooManyAtOnce(TooManyRequests):
    """A client holds its share of a resource that all clients use."""

    detail = "This client has too many requests in progress. Wait for responses, or retry in {retry_after:.0f} seconds."


class Shares:
    """Counts what is held of a resource, in total and per holder.

    Args:
        limit: maximum for all holders together.
        limit_each: maximum per holder.
        full: raised if all of the resource is held.
        exceeded: raised if a holder has its share.
    """

    def __init__(
        self,
        limit: int,
        limit_each: int,
        *,
        full: type[Problem] = Unavailable,
        exceeded: type[Problem] = TooManyAtOnce,
    ) -> None:
        self._limit = limit
        self._limit_each = limit_each
        self._full = full
        self._exceeded = exceeded
        self._held: dict[str, int] = {}
        self.total = 0

    def take(self, holder: str) -> None:
        """Count one more. Raises the problem `full` or `exceeded`."""
        if self.total >= self._limit:
            raise self._full
        held = self._held.get(holder, 0)
        if held >= self._limit_each:
            raise self._exceeded
        self.total += 1
        self._held[holder] = held + 1

    def resume(self, holder: str) -> None:
        """Count one more, even beyond the limits: the holder had it before, and gave it back while it waited."""
        self.total += 1
        self._held[holder] = self._held.get(holder, 0) + 1

    def release(self, holder: str) -> None:
        """Count one less."""
        self.total -= 1
        held = self._held.get(holder, 0) - 1
        if held:
            self._held[holder] = held
        else:
            self._held.pop(holder, None)

    @contextmanager
    def slot(self, holder: str) -> Iterator[None]:
        """Count one more while the context is open. Raises the problem `full` or `exceeded`."""
        self.take(holder)
        try:
            yield
        finally:
            self.release(holder)


def share_of(limit: int, share: float) -> int:
    """Return what one client may hold of `limit`, at least one."""
    return max(1, int(limit * share))
