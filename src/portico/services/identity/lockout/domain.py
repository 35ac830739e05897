from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

WINDOW: Final = timedelta(minutes=15)
LOCKED_FOR: Final = timedelta(minutes=15)


def recent(failures: Sequence[float], now: datetime) -> list[float]:
    """The failures (seconds since 1970) that still count."""
    return [moment for moment in failures if moment > (now - WINDOW).timestamp()]
