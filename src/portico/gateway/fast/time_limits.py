"""Time limits of the fast plane: one task checks all connections a few times a second; requests need no timers."""

import asyncio
import time
from typing import Final, Protocol

from portico.kit.telemetry.logs import get_logger

logger = get_logger(__name__)

SECONDS: Final = 0.25
"""Interval (seconds) of the check. A request may exceed its time limit by this much."""


class TimedExchange(Protocol):
    """A request in progress."""

    deadline: float
    """Time at which it times out, by `time.perf_counter`."""

    def time_out(self) -> None:
        """End the request because of a time-out."""


class IdleConnection(Protocol):
    """A connection without a request."""

    @property
    def idle_seconds(self) -> float:
        """How long (seconds) it may be idle."""

    def close_idle(self) -> None:
        """Close the connection."""


class TimeLimits:
    """Time limits of requests in progress, and of idle connections in the order in which they became idle."""

    def __init__(self) -> None:
        self.busy: set[TimedExchange] = set()
        self.idle: dict[IdleConnection, float] = {}

    async def run(self) -> None:
        """Apply the time limits until cancelled."""
        while True:
            await asyncio.sleep(SECONDS)
            try:
                self.apply(time.perf_counter())
            except Exception:
                logger.exception("time_limits_failed")

    def apply(self, now: float) -> None:
        """End requests that have timed out, and close connections that were idle for too long."""
        for exchange in [each for each in self.busy if each.deadline <= now]:
            exchange.time_out()
        expired = []
        for connection, since in self.idle.items():
            if now - since < connection.idle_seconds:
                break  # the others became idle later
            expired.append(connection)
        for connection in expired:
            del self.idle[connection]
            connection.close_idle()
