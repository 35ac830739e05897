"""The books are gone through a page at a time. What differs is looked at once more, since other work goes on meanwhile."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final, TypeVar

from portico.contracts.orders import OrderId, OrderTotal
from portico.kit.calls.errors import CallError
from portico.kit.data import Reader
from portico.services.payments.ledger.queries import balances, held_for, imbalances, transactions_after
from portico.services.payments.payments.models import Payment
from portico.services.payments.provider.domain import PaymentProvider, ProviderCharge, ProviderUnavailable
from portico.services.payments.reconciliation.domain import (
    Examined,
    Kept,
    Mismatch,
    Place,
    Report,
    against_ledger,
    against_order,
    differing_charge,
    kept_of,
    missing_at_provider,
    unbalanced_currencies,
    unbalanced_transaction,
    unknown_payment,
    without_order,
)
from portico.services.payments.reconciliation.repository import (
    kept_for,
    known_payments,
    payments_after,
    payments_called,
)
from portico.services.payments.reconciliation.resources import OrderBook

T = TypeVar("T")

_SIDE_BY_SIDE: Final = 8


class Books:
    """The ledger, the payments, the provider and the orders."""

    def __init__(self, reader: Reader, provider: PaymentProvider, orders: OrderBook) -> None:
        self._reader = reader
        self._provider = provider
        self._orders = orders
        self._sections = {
            "payments": self._payments,
            "charges": self._charges,
            "transactions": self._transactions,
            "orders": self._order_totals,
        }

    async def reconcile(self, start: Place | None, *, limit: int) -> Report:
        """Go through `limit` rows from `start`, or from the beginning, where the whole ledger is summed up too."""
        report = Report(accounts=await balances(self._reader) if start is None else None)
        if report.accounts is not None:
            report.mismatches.extend(unbalanced_currencies(report.accounts))
        place: Place | None = start or Place()
        while place is not None and limit > 0:
            part = await self._sections[place.section](place.after, limit)
            report.checked[place.section] += part.count
            report.mismatches.extend(part.mismatches)
            report.skipped |= part.skipped
            limit -= part.count
            place = place.following() if part.after is None else Place(place.section, part.after)
        report.next = place
        return report

    async def _payments(self, after: str | None, limit: int) -> Examined:
        async with self._reader.snapshot() as moment:
            payments = await payments_after(moment, after, limit=limit)
            held = await held_for(moment, [payment.payment_id for payment in payments])
        part = Examined(len(payments), payments[-1].payment_id if len(payments) == limit else None)
        part.mismatches.extend(_some(against_ledger(each, held.get(each.payment_id, {})) for each in payments))
        charged = [payment for payment in payments if payment.charged_at is not None]
        try:
            part.mismatches.extend(await self._missing_at_provider(charged))
        except ProviderUnavailable:
            part.skipped.add("provider")
        try:
            part.mismatches.extend(await self._without_order(charged))
        except CallError:
            part.skipped.add("orders")
        return part

    async def _missing_at_provider(self, payments: Sequence[Payment]) -> list[Mismatch]:
        room = asyncio.Semaphore(_SIDE_BY_SIDE)

        async def look(payment: Payment) -> Mismatch | None:
            async with room:
                found = await self._provider.find_charge(payment.payment_id)
            return None if found is not None else missing_at_provider(payment)

        return _some(await asyncio.gather(*(look(payment) for payment in payments)))

    async def _without_order(self, payments: Sequence[Payment]) -> list[Mismatch]:
        keeping = [payment for payment in payments if kept_of(payment) and not payment.refunding_minor]
        known = await self._orders.called([payment.order_id for payment in keeping]) if keeping else {}
        return [without_order(payment) for payment in keeping if payment.order_id not in known]

    async def _charges(self, after: str | None, limit: int) -> Examined:
        try:
            charges = await self._provider.charges(after=after, limit=limit)
            payments = await payments_called(self._reader, [charge.key for charge in charges])
            doubtful = [charge for charge in charges if differing_charge(payments.get(charge.key), charge)]
            mismatches = [await self._confirmed(charge) for charge in doubtful]
        except ProviderUnavailable:
            return Examined(0, None, skipped={"provider"})
        return Examined(len(charges), charges[-1].charge_id if len(charges) == limit else None, _some(mismatches))

    async def _confirmed(self, charge: ProviderCharge) -> Mismatch | None:
        """Whether it still differs with the payment read before and after the provider was asked again."""
        before = (await payments_called(self._reader, [charge.key])).get(charge.key)
        again = await self._provider.find_charge(charge.key)
        after = (await payments_called(self._reader, [charge.key])).get(charge.key)
        if again is None or (before is None) != (after is None):
            return None
        if before is not None and after is not None and before.revision != after.revision:
            return None
        return differing_charge(after, again)

    async def _transactions(self, after: str | None, limit: int) -> Examined:
        found = await transactions_after(self._reader, after, limit=limit)
        known = await known_payments(self._reader, {row.payment_id for row in found})
        part = Examined(len(found), found[-1].transaction_id if len(found) == limit else None)
        strange = {row.payment_id for row in found} - known
        held = await held_for(self._reader, strange) if strange else {}
        part.mismatches.extend(unknown_payment(each, held.get(each, {})) for each in sorted(strange))
        odd = await imbalances(self._reader, [row.transaction_id for row in found]) if found else []
        part.mismatches.extend(unbalanced_transaction(each) for each in odd)
        return part

    async def _order_totals(self, after: str | None, limit: int) -> Examined:
        try:
            orders = await self._orders.after(None if after is None else OrderId(after), limit=limit)
            doubtful = await self._not_as_paid(orders)
            again = await self._orders.called([order.order_id for order in doubtful]) if doubtful else {}
            steady = [again[order.order_id] for order in doubtful if again.get(order.order_id) == order]
            confirmed = await self._not_as_paid(steady)
        except CallError:
            return Examined(0, None, skipped={"orders"})
        ended = len(orders) < limit
        return Examined(len(orders), None if ended else orders[-1].order_id, list(confirmed.values()))

    async def _not_as_paid(self, orders: Sequence[OrderTotal]) -> dict[OrderTotal, Mismatch]:
        kept = await kept_for(self._reader, [order.order_id for order in orders]) if orders else {}
        found = {order: against_order(order, kept.get(order.order_id, Kept({}, {}))) for order in orders}
        return {order: mismatch for order, mismatch in found.items() if mismatch is not None}


def _some(mismatches: Iterable[Mismatch | None]) -> list[Mismatch]:
    return [mismatch for mismatch in mismatches if mismatch is not None]
