"""The end of a drill: wait until no work is pending."""

import asyncio
import math
from collections.abc import Awaitable, Callable

from portico.drill.customers import Watchdog
from portico.drill.databases import DrillDatabases
from portico.drill.report import Breach, Report
from portico.kit.messaging.brokers.base import Broker

_POLL = 0.2  # seconds


async def wait_until_quiet(
    databases: DrillDatabases, broker: Broker, report: Report, *, within: float, alive: Callable[[], Awaitable[None]]
) -> None:
    """Wait until no work is pending; report a breach if the amount of pending work stops falling.

    Args:
        databases: the databases of the services.
        broker: the broker of its services.
        report: receives the breach.
        within: seconds in which the amount has to fall below its lowest value so far.
        alive: waits until every service runs; its errors are raised.
    """
    watchdog = Watchdog(within)
    lowest: float = math.inf
    while pending := await _pending(databases, broker, alive):
        if (total := sum(pending.values())) < lowest:
            lowest = total
            watchdog.reset()
        elif watchdog.has_expired:
            listed = ", ".join(f"{number} {what}" for what, number in pending.items())
            report.breaches.append(Breach("all work is done", f"{listed}: no progress for {within:.0f} s"))
            return
        await asyncio.sleep(_POLL)


async def _pending(databases: DrillDatabases, broker: Broker, alive: Callable[[], Awaitable[None]]) -> dict[str, int]:
    """Return the amount of pending work by kind, messages included."""
    await alive()
    pending = await databases.pending_work()
    for placement in databases.system.placements:
        if placement.service.consumers and (backlog := await broker.backlog(placement.name)):
            pending[f"messages to {placement.name}"] = backlog
    return pending
