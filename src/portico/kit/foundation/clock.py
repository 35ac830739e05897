"""The clock, which tests replace."""

import time
from datetime import UTC, datetime, timedelta
from typing import Final

CLOCK_DIFFERENCE: Final = timedelta(minutes=1)
"""By how much the wall clocks of two processes may differ."""


class Clock:
    """Wall clock and monotonic clock. Tests replace it."""

    def now(self) -> datetime:
        """Return the current time, in UTC."""
        return datetime.now(UTC)

    def timestamp(self) -> float:
        """Return the current time in seconds since the epoch, at less cost than `now().timestamp()`."""
        return time.time()

    def monotonic(self) -> float:
        """Return the monotonic time in seconds."""
        return time.monotonic()


def latest_due(now: datetime, max_wait: timedelta) -> datetime:
    """Return the latest moment for which anything can wait at `now`, if the longest wait is `max_wait`.

    A later moment was stored before the clock was set back. What waits for it is due now: otherwise it would wait for as
    long as the clock was set back.
    """
    return now + max_wait + CLOCK_DIFFERENCE


def seconds_until(due_at: datetime, now: datetime, *, max_wait: timedelta) -> float:
    """Return the seconds from `now` until `due_at`; 0 if that is beyond `latest_due`. Negative if it is overdue."""
    return 0.0 if due_at > latest_due(now, max_wait) else (due_at - now).total_seconds()
