"""The clock, which tests replace."""

import time
from datetime import UTC, datetime


class Clock:
    """Wall clock and monotonic clock. Tests replace it."""

    def now(self) -> datetime:
        """Return the current time, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return the monotonic time in seconds."""
        return time.monotonic()
