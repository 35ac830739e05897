"""Clocks for tests."""

from datetime import UTC, datetime, timedelta

from portico.kit.foundation.clock import Clock

START = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


class ManualClock(Clock):
    """A clock that stands still until the test advances it."""

    def __init__(self, now: datetime = START) -> None:
        self._now = now
        self._seconds = 1_000.0

    def now(self) -> datetime:
        return self._now

    def timestamp(self) -> float:
        return self._now.timestamp()

    def monotonic(self) -> float:
        return self._seconds

    def advance(self, seconds: float) -> None:
        """Advance the clock by `seconds`."""
        self._now += timedelta(seconds=seconds)
        self._seconds += seconds

    def set_back(self, seconds: float) -> None:
        """Set the wall clock back by `seconds`, as a time server does. The monotonic clock continues."""
        self._now -= timedelta(seconds=seconds)


class ShiftedClock(Clock):
    """A running clock that a test advances, for whole systems: their tasks wait for real time."""

    def __init__(self) -> None:
        self._shift = timedelta()

    def now(self) -> datetime:
        return super().now() + self._shift

    def monotonic(self) -> float:
        return super().monotonic() + self._shift.total_seconds()

    def advance(self, seconds: float) -> None:
        """Advance the clock by `seconds`."""
        self._shift += timedelta(seconds=seconds)
