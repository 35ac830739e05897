"""Time limits of the fast plane: looked at a few times a second for all connections, instead of a timer for each request."""

import asyncio
import time
from typing import Final, Protocol

from portico.kit.telemetry.logs import get_logger

logger = get_logger(__name__)

SECONDS: Final = 0.25
"""How often (seconds) time limits are looked at. A request may take so much longer than its limit."""


class TimedExchange(Protocol):
    """A request in progress."""

    deadline: float
    """When its time is over, by `time.perf_counter`."""

    def time_out(self) -> None:
        """End the request, because its time is over."""


class IdleConnection(Protocol):
    """A connection without a request."""

    @property
    def idle_seconds(self) -> float:
        """How long (seconds) it may be idle."""

    def close_idle(self) -> None:
        """Close the connection."""


class Sweep:
    """The requests in progress, and the idle connections in the order in which they became idle."""

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
        """End requests whose time is over, and close connections that were idle for too long."""
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
