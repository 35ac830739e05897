"""What must be true of what is told, whatever went wrong: events, and mails."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from portico.contracts.notifications import ORDER_MAILS
from portico.contracts.orders import OrderCancelled, OrderCreated, OrderFailed, OrderUpdated
from portico.contracts.payments import PaymentFailed, PaymentProcessed, PaymentRefunded
from portico.drill.databases import MAILS, PAYMENTS, ShopDatabases
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
"""How often what must have been told of an order that stands so; a cancelled one may have been confirmed before."""

_EVENT_OF_A_TRANSACTION: Mapping[str, type[Event]] = {"charge": PaymentProcessed, "refund": PaymentRefunded}

Told = Counter[tuple[str, str]]
"""How often an event of a type was told of a thing, by both."""


async def check_events(shop: ShopDatabases, orders: Mapping[str, Any]) -> None:
    """Each change was told of, each event was handled, and none was given up."""
    await _check_published(shop, orders)
    await _check_handled(shop)
    rule = "no event is a dead letter"
    for name in shop.databases:
        dead = await shop.rows(name, select(failed_events).where(failed_events.c.state == "dead"))
        shop.rule(rule, 1)
        for letter in dead:
            shop.breach(rule, f"{letter.type} at {name}'s {letter.consumer}: {letter.error}", letter.aggregate)


async def check_mails(shop: ShopDatabases, orders: Mapping[str, Any]) -> None:
    """Whoever ordered was told what became of it."""
    rule = "each order's customer gets each mail once"
    queued: Told = Counter()
    for mail in await shop.rows("notifications", select(MAILS)):
        queued[mail.template, str(mail.order_id)] += 1
        if mail.status != "sent":
            shop.breach(rule, f"the mail {mail.template} is {mail.status}", mail.order_id)
    shop.rule(rule, len(queued))
    for (template, order_id), number in queued.items():
        if number > 1:
            shop.breach(rule, f"the mail {template} was queued {number} times", order_id)
    for order_id, order in orders.items():
        for template, statuses in ORDER_MAILS.items():
            if order.status in statuses and not queued[template, order_id]:
                shop.breach(rule, f"it is {order.status}, and brought no mail {template}", order_id)


async def _check_published(shop: ShopDatabases, orders: Mapping[str, Any]) -> None:
    rule = "what became of each order and payment is told of, once"
    due = [
        (kind.event_type, order_id, number)
        for order_id, order in orders.items()
        for kind, number in _EVENTS_OF_AN_ORDER.get(order.status, {}).items()
    ]
    told = await _told(shop, "orders")
    shop.rule(rule, len(due))
    for kind, order_id, number in due:
        if told[kind, order_id] != number:
            status = orders[order_id].status
            shop.breach(rule, f"it is {status}, and {kind} was told {told[kind, order_id]} times", order_id)

    payments = {str(row.payment_id): row for row in await shop.rows("payments", select(PAYMENTS))}
    happened: Told = Counter(
        (_EVENT_OF_A_TRANSACTION[row.kind].event_type, str(row.payment_id))
        for row in await shop.rows("payments", select(TRANSACTIONS))
    )
    happened.update((PaymentFailed.event_type, key) for key, row in payments.items() if row.status == "failed")
    told = await _told(shop, "payments")
    shop.rule(rule, len(happened))
    for kind, payment_id in happened.keys() | told.keys():
        times = told[kind, payment_id], happened[kind, payment_id]
        if times[0] != times[1]:
            said = f"{kind} of {payment_id} was told {times[0]} times, and happened {times[1]} times"
            shop.breach(rule, said, payments[payment_id].order_id)


async def _told(shop: ShopDatabases, service: str) -> Told:
    rows = await shop.rows(service, select(event_log.c.type, event_log.c.aggregate))
    return Counter((row.type, row.aggregate) for row in rows)


async def _check_handled(shop: ShopDatabases) -> None:
    rule = "every event was handled by every consumer, once"
    handled: dict[str, set[tuple[str, str]]] = {
        name: {(row.consumer, row.event_id) for row in await shop.rows(name, select(inbox))} for name in shop.databases
    }
    for name in shop.databases:
        for event in await shop.rows(name, select(event_log.c.event_id, event_log.c.type, event_log.c.aggregate)):
            for placement in shop.system.placements:
                consumers = placement.service.consumers
                kinds = [kind for (known, _), kind in event_types(consumers).items() if known == event.type]
                for consumer in {each.name for kind in kinds for each in consumers_of(consumers, kind)}:
                    shop.rule(rule, 1)
                    if (consumer, event.event_id) not in handled[placement.name]:
                        said = f"{event.type} {event.event_id} was not handled by {placement.name}'s {consumer}"
                        shop.breach(rule, said, event.aggregate)
