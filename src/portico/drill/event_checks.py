"""The invariants for events and mails."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from portico.contracts.notifications import ORDER_MAILS
from portico.contracts.orders import OrderCancelled, OrderCreated, OrderFailed, OrderUpdated
from portico.contracts.payments import PaymentFailed, PaymentProcessed, PaymentRefunded
from portico.drill.databases import MAILS, PAYMENTS, DrillDatabases, ShopDatabases
from portico.kit.data.kit_tables import event_log, failed_events, inbox
from portico.kit.messaging.consumer import consumers_of, event_types
from portico.kit.messaging.event import Event
from portico.services.payments.ledger.models import LedgerTransaction

TRANSACTIONS: Any = LedgerTransaction.__table__

_EVENTS_OF_AN_ORDER: Mapping[str, Mapping[type[Event], int]] = {
    "confirmed": {OrderCreated: 1, OrderUpdated: 1},
    "shipped": {OrderCreated: 1, OrderUpdated: 2},
    "delivered": {OrderCreated: 1, OrderUpdated: 3},
    "returned": {OrderCreated: 1, OrderUpdated: 4},
    "cancelled": {OrderCreated: 1, OrderCancelled: 1},
    "failed": {OrderCreated: 1, OrderFailed: 1},
}
"""How often each event of an order is published, by the order's status. A cancelled order may have been confirmed before."""

_EVENT_OF_A_TRANSACTION: Mapping[str, type[Event]] = {"charge": PaymentProcessed, "refund": PaymentRefunded}

EventCounts = Counter[tuple[str, str]]
"""The number of events by type and aggregate."""


async def check_events(shop: ShopDatabases, orders: Mapping[str, Any]) -> None:
    """Check that each change was published, each event was handled, and none is a dead letter."""
    await _check_published(shop, orders)
    await check_handled(shop)


async def check_handled(shop: DrillDatabases) -> None:
    """Check that every consumer handled every event, and that none is a dead letter."""
    await _check_inboxes(shop)
    invariant = "no event is a dead letter"
    for name in shop.databases:
        dead = await shop.rows(name, select(failed_events).where(failed_events.c.state == "dead"))
        shop.count_checked(invariant, 1)
        for letter in dead:
            shop.report_breach(
                invariant, f"{letter.type} at {name}'s {letter.consumer}: {letter.error}", letter.aggregate
            )


async def check_mails(shop: ShopDatabases, orders: Mapping[str, Any]) -> None:
    """Check that customers received their mails."""
    invariant = "each mail about an order is sent once"
    queued: EventCounts = Counter()
    for mail in await shop.rows("notifications", select(MAILS)):
        queued[mail.template, str(mail.order_id)] += 1
        if mail.status != "sent":
            shop.report_breach(invariant, f"the mail {mail.template} is {mail.status}", mail.order_id)
    shop.count_checked(invariant, len(queued))
    for (template, order_id), number in queued.items():
        if number > 1:
            shop.report_breach(invariant, f"the mail {template} was queued {number} times", order_id)
    for order_id, order in orders.items():
        for template, statuses in ORDER_MAILS.items():
            if order.status in statuses and not queued[template, order_id]:
                shop.report_breach(invariant, f"the order is {order.status}, and has no mail {template}", order_id)


async def _check_published(shop: ShopDatabases, orders: Mapping[str, Any]) -> None:
    invariant = "each change of an order or payment is published once"
    due = [
        (kind.event_type, order_id, number)
        for order_id, order in orders.items()
        for kind, number in _EVENTS_OF_AN_ORDER.get(order.status, {}).items()
    ]
    published = await _published(shop, "orders")
    shop.count_checked(invariant, len(due))
    for kind, order_id, number in due:
        if published[kind, order_id] != number:
            status = orders[order_id].status
            shop.report_breach(
                invariant,
                f"the order is {status}, and {kind} was published {published[kind, order_id]} times",
                order_id,
            )

    payments = {str(row.payment_id): row for row in await shop.rows("payments", select(PAYMENTS))}
    expected: EventCounts = Counter(
        (_EVENT_OF_A_TRANSACTION[row.kind].event_type, str(row.payment_id))
        for row in await shop.rows("payments", select(TRANSACTIONS))
    )
    expected.update((PaymentFailed.event_type, key) for key, row in payments.items() if row.status == "failed")
    published = await _published(shop, "payments")
    shop.count_checked(invariant, len(expected))
    for kind, payment_id in expected.keys() | published.keys():
        counts = published[kind, payment_id], expected[kind, payment_id]
        if counts[0] != counts[1]:
            message = f"{kind} of {payment_id} was published {counts[0]} times, expected {counts[1]}"
            shop.report_breach(invariant, message, payments[payment_id].order_id)


async def _published(shop: ShopDatabases, service: str) -> EventCounts:
    rows = await shop.rows(service, select(event_log.c.type, event_log.c.aggregate))
    return Counter((row.type, row.aggregate) for row in rows)


async def _check_inboxes(shop: DrillDatabases) -> None:
    invariant = "every consumer handled every event"
    handled: dict[str, set[tuple[str, str]]] = {
        name: {(row.consumer, row.event_id) for row in await shop.rows(name, select(inbox))} for name in shop.databases
    }
    for name in shop.databases:
        for event in await shop.rows(name, select(event_log.c.event_id, event_log.c.type, event_log.c.aggregate)):
            for placement in shop.system.placements:
                consumers = placement.service.consumers
                kinds = [kind for (known, _), kind in event_types(consumers).items() if known == event.type]
                for consumer in {each.name for kind in kinds for each in consumers_of(consumers, kind)}:
                    shop.count_checked(invariant, 1)
                    if (consumer, event.event_id) not in handled[placement.name]:
                        message = f"{event.type} {event.event_id} was not handled by {placement.name}'s {consumer}"
                        shop.report_breach(invariant, message, event.aggregate)
