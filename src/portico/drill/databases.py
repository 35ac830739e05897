"""The databases of a system, read while no service changes them, and the invariants that they break."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from operator import itemgetter
from typing import Any

from sqlalchemy import Select, and_, func, or_, select

from portico.drill.report import Breach
from portico.kit.data import Reader
from portico.kit.data.engine import Database
from portico.kit.data.kit_tables import event_log, failed_events, outbox, saga_steps, sagas
from portico.kit.foundation.clock import Clock
from portico.kit.runtime.system import System
from portico.services.catalog.stock.models import StockReservation
from portico.services.notifications.models import Notification
from portico.services.orders.domain import UNSETTLED
from portico.services.orders.models import Order, reservation_id_of
from portico.services.payments.models import Payment, Refund

ORDERS: Any = Order.__table__
RESERVATIONS: Any = StockReservation.__table__
PAYMENTS: Any = Payment.__table__
REFUNDS: Any = Refund.__table__
MAILS: Any = Notification.__table__


class DrillDatabases:
    """The databases of a system, with the results of the invariants.

    Args:
        system: the system.
        databases: the database of each service, by name.
    """

    def __init__(self, system: System, databases: Mapping[str, Database]) -> None:
        self.system = system
        self.databases = databases
        self.checked: dict[str, int] = {}
        self.breaches: list[Breach] = []

    async def rows(self, service: str, statement: Select[Any]) -> list[Any]:
        """Return the rows of a statement in a service's database."""
        async with Reader(self.databases[service], Clock()) as reader:
            return list(await reader.rows(statement))

    async def count(self, service: str, table: Any, *where: Any) -> int:
        """Return the number of rows in a table."""
        [row] = await self.rows(service, select(func.count().label("number")).select_from(table).where(*where))
        return int(row.number)

    async def pending_work(self) -> dict[str, int]:
        """Return the amount of pending work by kind; empty once all work is done."""
        found: Counter[str] = Counter()
        for name in self.databases:
            found[f"events in the outbox of {name}"] = await self.count(name, outbox)
            waiting = failed_events.c.state == "waiting"
            found[f"events in the retry queue of {name}"] = await self.count(name, failed_events, waiting)
        for placement in self.system.placements:
            if placement.service.sagas:
                unfinished = sagas.c.ended_at.is_(None)
                found[f"sagas of {placement.name}"] = await self.count(placement.name, sagas, unfinished)
        found["payments"] = await self.count("payments", PAYMENTS, PAYMENTS.c.status == "processing")
        found["refunds"] = await self.count("payments", REFUNDS, REFUNDS.c.status == "processing")
        unsent = MAILS.c.status.in_(("queued", "sending", "waiting"))
        found["mails"] = await self.count("notifications", MAILS, unsent)
        found.update(await self.pending_of_system())
        return {what: number for what, number in found.items() if number}

    async def pending_of_system(self) -> dict[str, int]:
        """Return the amount of pending work of kinds that only this system has."""
        return {}

    async def history(self, subject: str) -> list[str]:
        """Return what happened to an order or a booking, oldest first, one line each."""
        return [f"{time:%H:%M:%S.%f} {line}" for time, line in sorted(await self.entries(subject), key=itemgetter(0))]

    async def entries(self, subject: str) -> list[tuple[datetime, str]]:
        """Return steps of sagas, events and payments of a subject, with their times."""
        entries: list[tuple[datetime, str]] = []
        steps = select(saga_steps, sagas.c.name).join(
            sagas, and_(sagas.c.saga_id == saga_steps.c.saga_id, sagas.c.subject == subject)
        )
        for placement in self.system.placements:
            if placement.service.sagas:
                for step in await self.rows(placement.name, steps):
                    line = f"{step.name}: {step.action} {step.step} (attempt {step.attempt}) {step.outcome}"
                    entries.append((step.ended_at, f"{line} {step.error or ''}".rstrip()))
        for name in self.databases:
            events = await self.rows(name, select(event_log).where(event_log.c.aggregate == subject))
            entries += [(each.occurred_at, f"event of {name}: {each.type} {each.event_id}") for each in events]
        of_subject = or_(PAYMENTS.c.order_id == subject, PAYMENTS.c.booking_id == subject)
        for payment in await self.rows("payments", select(PAYMENTS).where(of_subject)):
            line = f"payment {payment.status}: {payment.amount_minor}, of which {payment.refunded_minor} refunded"
            entries.append((payment.updated_at, line))
        return entries

    def count_checked(self, invariant: str, number: int) -> None:
        """Record that an invariant checked a number of objects."""
        self.checked[invariant] = self.checked.get(invariant, 0) + number

    def report_breach(self, invariant: str, message: str, subject: object = None) -> None:
        """Record that an invariant is broken."""
        self.breaches.append(Breach(invariant, message, None if subject is None else str(subject)))


class ShopDatabases(DrillDatabases):
    """The databases of a commerce system."""

    async def pending_of_system(self) -> dict[str, int]:
        return {"orders": await self.count("orders", ORDERS, ORDERS.c.status.in_(UNSETTLED))}

    async def entries(self, subject: str) -> list[tuple[datetime, str]]:
        entries = await super().entries(subject)
        for order in await self.rows("orders", select(ORDERS).where(ORDERS.c.order_id == subject)):
            entries.append(
                (order.created_at, f"order placed: {order.total_minor} {order.currency} by {order.payment_method}")
            )
            entries.append((order.updated_at, f"order is {order.status} {order.failure_reason or ''}".rstrip()))
        reservation = RESERVATIONS.c.reservation_id == reservation_id_of(subject)  # type: ignore[arg-type]  # a string, as it was read
        held = await self.rows("catalog", select(RESERVATIONS).where(reservation))
        return [*entries, *((each.updated_at, f"stock {each.status}") for each in held)]
