"""The end of a drill: wait until no work is pending, then check the rules."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy import Select, func, select

from portico.drill.checks import check_all
from portico.drill.customers import Customers, Watchdog
from portico.drill.databases import ORDERS, ShopDatabases
from portico.drill.report import Breach, Report
from portico.kit.messaging.brokers.base import Broker

_POLL = 0.2  # seconds


async def wait_until_quiet(
    shop: ShopDatabases, broker: Broker, report: Report, *, within: float, alive: Callable[[], Awaitable[None]]
) -> None:
    """Wait until no work is pending; report a breach if the amount of pending work stops falling.

    Args:
        shop: the databases.
        broker: the broker of its services.
        report: receives the breach.
        within: seconds in which the amount has to fall below its lowest value so far.
        alive: waits until every service runs; its errors are raised.
    """
    watchdog = Watchdog(within)
    lowest: float = math.inf
    while pending := await _pending(shop, broker, alive):
        if (total := sum(pending.values())) < lowest:
            lowest = total
            watchdog.reset()
        elif watchdog.has_expired:
            listed = ", ".join(f"{number} {what}" for what, number in pending.items())
            report.breaches.append(Breach("all work is done", f"{listed}: no progress for {within:.0f} s"))
            return
        await asyncio.sleep(_POLL)


async def _pending(shop: ShopDatabases, broker: Broker, alive: Callable[[], Awaitable[None]]) -> dict[str, int]:
    """Return the amount of pending work by kind, messages included."""
    await alive()
    pending = await shop.pending_work()
    for placement in shop.system.placements:
        if placement.service.consumers and (backlog := await broker.backlog(placement.name)):
            pending[f"messages to {placement.name}"] = backlog
    return pending


async def check(shop: ShopDatabases, customers: Customers, report: Report) -> None:
    """Check every rule, and fill the report. It gets the history of the broken order with the shortest one."""
    await check_all(shop, customers.acknowledged)
    report.breaches += [Breach("every request is answered as documented", message) for message in customers.errors]
    report.breaches += shop.breaches
    report.checked = shop.checked
    for row in await shop.rows("orders", _statuses()):
        report.orders[row.status] = row.number
    histories = [await shop.history(each) for each in {breach.order_id for breach in shop.breaches} if each is not None]
    report.history = min(histories, key=len, default=[])


def _statuses() -> Select[Any]:
    return select(ORDERS.c.status, func.count().label("number")).group_by(ORDERS.c.status).order_by(ORDERS.c.status)
