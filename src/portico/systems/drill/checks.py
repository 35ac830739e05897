"""What must be true of the shop, whatever went wrong: read from the services' databases as they lie there."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Select, and_, func, select

from portico.contracts.orders import SOLD
from portico.kit.clock import Clock
from portico.kit.data import Reader
from portico.kit.data.engine import Database
from portico.kit.data.kit_tables import event_log, inbox, outbox, parked_events, saga_steps, sagas
from portico.kit.messaging.consumer import consumers_of, event_types
from portico.kit.system import System
from portico.services.catalog.stock.models import StockLevel, StockReservation
from portico.services.catalog.stock.queries import mismatches
from portico.services.notifications.messages.models import Notification
from portico.services.orders.domain import UNSETTLED
from portico.services.orders.models import Order, reservation_of
from portico.services.payments.ledger.models import LedgerEntry
from portico.services.payments.payments.models import Payment
from portico.services.payments.provider.simulated.models import SimulatedCharge
from portico.services.payments.refunds.models import Refund
from portico.systems.drill.report import Breach

ORDERS: Any = Order.__table__
LEVELS: Any = StockLevel.__table__
RESERVATIONS: Any = StockReservation.__table__
PAYMENTS: Any = Payment.__table__
REFUNDS: Any = Refund.__table__
CHARGES: Any = SimulatedCharge.__table__
ENTRIES: Any = LedgerEntry.__table__
MAILS: Any = Notification.__table__

_HELD = {"reserved", "confirmed"}
_STOCK_OF = {"confirmed": {"confirmed"}, "shipped": {"shipped"}, "delivered": {"shipped"}, "returned": {"returned"}}
"""How the stock of an order that stands must lie in the catalogue."""


class Shop:
    """The databases of a shop, read from outside.

    Args:
        system: which services there are.
        databases: of each, by name.
    """

    def __init__(self, system: System, databases: Mapping[str, Database]) -> None:
        self.system = system
        self.databases = databases
        self.checked: dict[str, int] = {}
        self.breaches: list[Breach] = []

    async def rows(self, service: str, statement: Select[Any]) -> list[Any]:
        """What a statement finds in a service's database."""
        async with Reader(self.databases[service], Clock()) as reader:
            return list(await reader.rows(statement))

    async def count(self, service: str, table: Any, *where: Any) -> int:
        """How many rows of a table there are."""
        [row] = await self.rows(service, select(func.count().label("number")).select_from(table).where(*where))
        return int(row.number)

    async def unsettled(self) -> dict[str, int]:
        """What is still on its way, by what it is; nothing once all is quiet."""
        found: Counter[str] = Counter()
        for name in self.databases:
            found[f"events in the outbox of {name}"] = await self.count(name, outbox)
            waiting = parked_events.c.state == "waiting"
            found[f"parked events of {name}"] = await self.count(name, parked_events, waiting)
        found["sagas"] = await self.count("orders", sagas, sagas.c.ended_at.is_(None))
        found["orders"] = await self.count("orders", ORDERS, ORDERS.c.status.in_(UNSETTLED))
        found["payments"] = await self.count("payments", PAYMENTS, PAYMENTS.c.status == "processing")
        found["refunds"] = await self.count("payments", REFUNDS, REFUNDS.c.status == "processing")
        unsent = MAILS.c.status.in_(("queued", "sending", "waiting"))
        found["mails"] = await self.count("notifications", MAILS, unsent)
        return {what: number for what, number in found.items() if number}

    async def check(self, acknowledged: Mapping[str, str]) -> None:
        """Apply every rule; `acknowledged` are the orders that customers were told of, by idempotency key."""
        orders = {str(row.order_id): row for row in await self.rows("orders", select(ORDERS))}
        self._orders(orders, acknowledged)
        await self._stock(orders)
        await self._money(orders)
        await self._events()
        await self._mails(orders)

    def rule(self, name: str, number: int) -> None:
        """Note that a rule was applied to so many things."""
        self.checked[name] = self.checked.get(name, 0) + number

    def breach(self, rule: str, said: str, order_id: object = None) -> None:
        """Note that a rule is broken."""
        self.breaches.append(Breach(rule, said, None if order_id is None else str(order_id)))

    def _orders(self, orders: Mapping[str, Any], acknowledged: Mapping[str, str]) -> None:
        rule = "every order settles"
        self.rule(rule, len(orders))
        for order in orders.values():
            if order.status in UNSETTLED:
                self.breach(rule, f"it is still {order.status}", order.order_id)
        rule = "an order that a customer was told of is there, once"
        self.rule(rule, len(acknowledged))
        for order_id in acknowledged.values():
            if order_id not in orders:
                self.breach(rule, "the customer was told of it, and it is not there", order_id)
        for order_id in orders.keys() - set(acknowledged.values()):
            self.breach(rule, "nobody was told of it: a request that was repeated made two", order_id)

    async def _stock(self, orders: Mapping[str, Any]) -> None:
        rule = "stock is never negative, and is the sum of its ledger"
        levels = await self.rows("catalog", select(LEVELS))
        self.rule(rule, len(levels))
        for level in levels:
            if not 0 <= level.reserved <= level.on_hand:
                self.breach(rule, f"{level.product_id}: {level.on_hand} on hand, {level.reserved} reserved")
        async with Reader(self.databases["catalog"], Clock()) as reader:
            for mismatch in await mismatches(reader):
                self.breach(rule, str(mismatch))
        rule = "stock is held for orders that stand, and for no others"
        held = {str(row.reservation_id): row.status for row in await self.rows("catalog", select(RESERVATIONS))}
        self.rule(rule, len(orders))
        for order in orders.values():
            status = held.get(str(reservation_of(order.order_id)))
            if order.status in {"failed", "cancelled"} and status in _HELD:
                self.breach(rule, f"it is {order.status} and its stock is still {status}", order.order_id)
            wanted = _STOCK_OF.get(order.status)
            if wanted is not None and status not in wanted:
                self.breach(rule, f"it is {order.status} and its stock is {status or 'not held'}", order.order_id)

    async def _money(self, orders: Mapping[str, Any]) -> None:
        rule = "money kept is the total of the orders that stand"
        kept: Counter[str] = Counter()
        for payment in await self.rows("payments", select(PAYMENTS)):
            if payment.charged_at is not None:
                kept[str(payment.order_id)] += payment.amount_minor - payment.refunded_minor
        self.rule(rule, len(orders))
        for order in orders.values():
            due = order.total_minor if order.status in SOLD else 0
            if kept[str(order.order_id)] != due:
                self.breach(rule, f"{kept[str(order.order_id)]} is kept, {due} is due", order.order_id)
        await self._charges(orders)
        await self._ledger()

    async def _charges(self, orders: Mapping[str, Any]) -> None:
        rule = "no order is charged twice"
        charges = await self.rows("payments", select(CHARGES).where(CHARGES.c.status == "succeeded"))
        self.rule(rule, len(charges))
        for order_id, number in Counter(str(charge.reference) for charge in charges).items():
            if number > 1:
                self.breach(rule, f"the provider charged it {number} times", order_id)
        rule = "the provider holds what the orders that stand cost"
        holds: Counter[str] = Counter()
        for charge in charges:
            holds[str(charge.reference)] += charge.amount_minor - charge.refunded_minor
        self.rule(rule, len(orders))
        for order in orders.values():
            due = order.total_minor if order.status in SOLD else 0
            if holds[str(order.order_id)] != due:
                self.breach(rule, f"the provider holds {holds[str(order.order_id)]}, {due} is due", order.order_id)

    async def _ledger(self) -> None:
        rule = "the ledger's sum is zero"
        sums = await self.rows(
            "payments",
            select(ENTRIES.c.currency, func.sum(ENTRIES.c.amount_minor).label("sum")).group_by(ENTRIES.c.currency),
        )
        self.rule(rule, await self.count("payments", ENTRIES))
        for row in sums:
            if row.sum:
                self.breach(rule, f"it is {row.sum} of {row.currency}")

    async def _events(self) -> None:
        rule = "every event was handled by every consumer, once"
        handled: dict[str, set[tuple[str, str]]] = {
            name: {(row.consumer, row.event_id) for row in await self.rows(name, select(inbox))}
            for name in self.databases
        }
        for name in self.databases:
            for event in await self.rows(name, select(event_log.c.event_id, event_log.c.type, event_log.c.aggregate)):
                for placement in self.system.placements:
                    consumers = placement.service.consumers
                    kinds = [kind for (known, _), kind in event_types(consumers).items() if known == event.type]
                    for consumer in {each.name for kind in kinds for each in consumers_of(consumers, kind)}:
                        self.rule(rule, 1)
                        if (consumer, event.event_id) not in handled[placement.name]:
                            said = f"{event.type} {event.event_id} was not handled by {placement.name}'s {consumer}"
                            self.breach(rule, said, event.aggregate)
        rule = "no event is a dead letter"
        for name in self.databases:
            dead = await self.rows(name, select(parked_events).where(parked_events.c.state == "dead"))
            self.rule(rule, 1)
            for letter in dead:
                self.breach(rule, f"{letter.type} at {name}'s {letter.consumer}: {letter.error}", letter.aggregate)

    async def _mails(self, orders: Mapping[str, Any]) -> None:
        rule = "each order's customer gets each mail once"
        sent: defaultdict[tuple[str, str], int] = defaultdict(int)
        for mail in await self.rows("notifications", select(MAILS)):
            sent[str(mail.order_id), mail.template] += 1
            if mail.status != "sent":
                self.breach(rule, f"the mail {mail.template} is {mail.status}", mail.order_id)
        self.rule(rule, len(sent))
        for (order_id, template), number in sent.items():
            if number > 1:
                self.breach(rule, f"the mail {template} was queued {number} times", order_id)
        wanted = {order_id for order_id, order in orders.items() if order.status in {*SOLD, "returned", "cancelled"}}
        for order_id in wanted - {order_id for order_id, _ in sent}:
            self.breach(rule, "nobody was told what became of it", order_id)

    async def story(self, order_id: str) -> list[str]:
        """All that happened to an order, oldest first, a line each."""
        told: list[tuple[Any, str]] = []
        for order in await self.rows("orders", select(ORDERS).where(ORDERS.c.order_id == order_id)):
            told.append(
                (order.created_at, f"order placed: {order.total_minor} {order.currency} by {order.payment_method}")
            )
            told.append((order.updated_at, f"order is {order.status} {order.failure_reason or ''}".rstrip()))
        steps = select(saga_steps, sagas.c.name).join(
            sagas, and_(sagas.c.saga_id == saga_steps.c.saga_id, sagas.c.subject == order_id)
        )
        for step in await self.rows("orders", steps):
            said = f"{step.name}: {step.action} {step.step} (attempt {step.attempt}) {step.outcome}"
            told.append((step.ended_at, f"{said} {step.error or ''}".rstrip()))
        for name in self.databases:
            events = await self.rows(name, select(event_log).where(event_log.c.aggregate == order_id))
            told += [(each.occurred_at, f"event of {name}: {each.type} {each.event_id}") for each in events]
        for payment in await self.rows("payments", select(PAYMENTS).where(PAYMENTS.c.order_id == order_id)):
            said = f"payment {payment.status}: {payment.amount_minor}, of which {payment.refunded_minor} given back"
            told.append((payment.updated_at, said))
        reservation = RESERVATIONS.c.reservation_id == reservation_of(order_id)  # type: ignore[arg-type]  # as it was read
        held = await self.rows("catalog", select(RESERVATIONS).where(reservation))
        told += [(each.updated_at, f"stock {each.status}") for each in held]
        return [f"{moment:%H:%M:%S.%f} {said}" for moment, said in sorted(told, key=lambda each: each[0])]
