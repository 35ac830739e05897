import time
from datetime import UTC, datetime


class Clock:
    """The time of day and the time that only goes forward. Tests hold one of their own."""

    def now(self) -> datetime:
        """The time of day, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds since some moment; never goes back."""
        return time.monotonic()
