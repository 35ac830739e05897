"""The invariants for orders, stock and payments, checked in the databases of the services."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select

from portico.contracts.orders import SOLD
from portico.drill import event_checks
from portico.drill.databases import ORDERS, PAYMENTS, RESERVATIONS, ShopDatabases
from portico.kit.data import Reader
from portico.kit.foundation.clock import Clock
from portico.services.catalog.stock.invariants import mismatches
from portico.services.catalog.stock.models import StockLevel
from portico.services.orders.domain import UNSETTLED
from portico.services.orders.models import reservation_id_of
from portico.services.payments.ledger.models import LedgerEntry
from portico.services.payments.simulated_provider.models import SimulatedCharge

LEVELS: Any = StockLevel.__table__
CHARGES: Any = SimulatedCharge.__table__
ENTRIES: Any = LedgerEntry.__table__

_HELD = {"reserved", "confirmed"}
_STOCK_OF = {"confirmed": {"confirmed"}, "shipped": {"shipped"}, "delivered": {"shipped"}, "returned": {"returned"}}
"""The allowed statuses of a reservation, by the status of its order."""


async def check_all(shop: ShopDatabases, acknowledged: Mapping[str, str]) -> None:
    """Check every invariant. `acknowledged` are the ids of acknowledged orders, by idempotency key."""
    orders = {str(row.order_id): row for row in await shop.rows("orders", select(ORDERS))}
    _check_orders(shop, orders, acknowledged)
    await _check_stock(shop, orders)
    await _check_money(shop, orders)
    await event_checks.check_events(shop, orders)
    await event_checks.check_mails(shop, orders)


def _check_orders(shop: ShopDatabases, orders: Mapping[str, Any], acknowledged: Mapping[str, str]) -> None:
    invariant = "every order settles"
    shop.count_checked(invariant, len(orders))
    for order in orders.values():
        if order.status in UNSETTLED:
            shop.report_breach(invariant, f"the order is still {order.status}", order.order_id)
    invariant = "every acknowledged order exists, once"
    shop.count_checked(invariant, len(acknowledged))
    for order_id in acknowledged.values():
        if order_id not in orders:
            shop.report_breach(invariant, "the order was acknowledged, and does not exist", order_id)
    for order_id in orders.keys() - set(acknowledged.values()):
        shop.report_breach(invariant, "the order was not acknowledged: a repeated request created two", order_id)


async def _check_stock(shop: ShopDatabases, orders: Mapping[str, Any]) -> None:
    invariant = "stock is not negative, and is the sum of its ledger"
    levels = await shop.rows("catalog", select(LEVELS))
    shop.count_checked(invariant, len(levels))
    for level in levels:
        if not 0 <= level.reserved <= level.on_hand:
            shop.report_breach(invariant, f"{level.product_id}: {level.on_hand} on hand, {level.reserved} reserved")
    async with Reader(shop.databases["catalog"], Clock()) as reader:
        for mismatch in await mismatches(reader):
            shop.report_breach(invariant, str(mismatch))
    invariant = "stock is held for active orders only"
    held = {str(row.reservation_id): row.status for row in await shop.rows("catalog", select(RESERVATIONS))}
    shop.count_checked(invariant, len(orders))
    for order in orders.values():
        status = held.get(str(reservation_id_of(order.order_id)))
        if order.status in {"failed", "cancelled"} and status in _HELD:
            shop.report_breach(
                invariant, f"the order is {order.status}, and its stock is still {status}", order.order_id
            )
        wanted = _STOCK_OF.get(order.status)
        if wanted is not None and status not in wanted:
            shop.report_breach(
                invariant, f"the order is {order.status}, and its stock is {status or 'not held'}", order.order_id
            )


async def _check_money(shop: ShopDatabases, orders: Mapping[str, Any]) -> None:
    invariant = "the amount kept is the total of the sold orders"
    kept: Counter[str] = Counter()
    for payment in await shop.rows("payments", select(PAYMENTS)):
        if payment.charged_at is not None:
            kept[str(payment.order_id)] += payment.amount_minor - payment.refunded_minor
    shop.count_checked(invariant, len(orders))
    for order in orders.values():
        due = _due(order)
        if kept[str(order.order_id)] != due:
            shop.report_breach(invariant, f"{kept[str(order.order_id)]} is kept, {due} is due", order.order_id)
    await _check_charges(shop, orders)
    await _check_ledger(shop)


def _due(order: Any) -> int:
    """Return the amount due for an order, in minor units."""
    return int(order.total_minor) if order.status in SOLD else 0


async def _check_charges(shop: ShopDatabases, orders: Mapping[str, Any]) -> None:
    invariant = "no order is charged twice"
    charges = await shop.rows("payments", select(CHARGES).where(CHARGES.c.status == "succeeded"))
    shop.count_checked(invariant, len(charges))
    for order_id, number in Counter(str(charge.reference) for charge in charges).items():
        if number > 1:
            shop.report_breach(invariant, f"the provider charged it {number} times", order_id)
    invariant = "the provider holds the total of the sold orders"
    holds: Counter[str] = Counter()
    for charge in charges:
        holds[str(charge.reference)] += charge.amount_minor - charge.refunded_minor
    shop.count_checked(invariant, len(orders))
    for order in orders.values():
        due = _due(order)
        if holds[str(order.order_id)] != due:
            shop.report_breach(
                invariant, f"the provider holds {holds[str(order.order_id)]}, {due} is due", order.order_id
            )


async def _check_ledger(shop: ShopDatabases) -> None:
    invariant = "the ledger's sum is zero"
    sums = await shop.rows(
        "payments",
        select(ENTRIES.c.currency, func.sum(ENTRIES.c.amount_minor).label("sum")).group_by(ENTRIES.c.currency),
    )
    shop.count_checked(invariant, await shop.count("payments", ENTRIES))
    for row in sums:
        if row.sum:
            shop.report_breach(invariant, f"the sum is {row.sum} {row.currency}")
