"""The end of a drill: all comes to rest, and what is found goes into the report."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy import Select, func, select

from portico.drill.checks import check_all
from portico.drill.customers import Customers
from portico.drill.databases import ORDERS, ShopDatabases
from portico.drill.report import Breach, Report
from portico.kit.messaging.brokers.base import Broker

_LOOK = 0.2  # seconds between two looks whether all is quiet


async def wait_until_quiet(
    shop: ShopDatabases, broker: Broker, report: Report, *, within: float, alive: Callable[[], Awaitable[None]]
) -> None:
    """Wait until nothing is on its way any more; where that does not come, the report says so.

    Args:
        shop: whose rows tell.
        broker: which holds messages for its services.
        report: gets the breach.
        within: seconds.
        alive: waits until every service lives; what it raises comes from here.
    """
    until = time.monotonic() + within
    left: dict[str, int] = {}
    while time.monotonic() < until:
        await alive()
        left = await shop.unsettled()
        for placement in shop.system.placements:
            if placement.service.consumers and (waiting := await broker.backlog(placement.name)):
                left[f"messages to {placement.name}"] = waiting
        if not left:
            return
        await asyncio.sleep(_LOOK)
    said = ", ".join(f"{number} {what}" for what, number in left.items())
    report.breaches.append(Breach("all comes to rest", f"after {within:.0f} s there are still {said}"))


async def check(shop: ShopDatabases, customers: Customers, report: Report) -> None:
    """Apply every rule, and tell the report; of the orders that broke one, the one with the shortest story."""
    await check_all(shop, customers.acknowledged)
    report.breaches += [Breach("every request is answered as the page says", said) for said in customers.errors]
    report.breaches += shop.breaches
    report.checked = shop.checked
    for row in await shop.rows("orders", _statuses()):
        report.orders[row.status] = row.number
    stories = [await shop.story(each) for each in {breach.order_id for breach in shop.breaches} if each is not None]
    report.story = min(stories, key=len, default=[])


def _statuses() -> Select[Any]:
    return select(ORDERS.c.status, func.count().label("number")).group_by(ORDERS.c.status).order_by(ORDERS.c.status)
