"""Reconciliation, one page at a time. A difference is checked a second time, because payments continue meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from portico.contracts.orders import OrderId, OrdersClient, OrderTotal
from portico.kit import Reader, ServiceContext
from portico.kit.calls import CallError
from portico.services.payments.ledger.domain import (
    Collected,
    Mismatch,
    Position,
    Report,
    SectionResult,
    compare_with_charge,
    compare_with_ledger,
    compare_with_order,
    compare_with_report,
    missing_at_provider,
    unbalanced_currencies,
    unbalanced_transaction,
    unknown_order,
    unknown_payment,
)
from portico.services.payments.ledger.repository import (
    balances,
    collected_for,
    held_for,
    imbalances,
    transactions_after,
)
from portico.services.payments.models import Payment, Refund
from portico.services.payments.provider import PaymentProvider, ProviderCharge, ProviderUnavailable
from portico.services.payments.repository import Payments, Refunds

_CONCURRENCY: Final = 8
_MOST_BY_ID: Final = 100  # the orders service's limit on ids per request
_MOST: Final = 1000


class OrderTotals:
    """Reads the totals of orders from the orders service, authenticated as payments."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context

    async def after(self, order_id: OrderId | None, *, limit: int) -> Sequence[OrderTotal]:
        """Return order totals, oldest first, after this order. Raises CallFailed, Refused."""
        return await self._client.totals(after=order_id, limit=min(limit, _MOST))

    async def by_id(self, order_ids: Collection[OrderId]) -> dict[OrderId, OrderTotal]:
        """Return the totals of these orders, by id. Raises CallFailed, Refused."""
        wanted = list(dict.fromkeys(order_ids))
        found: dict[OrderId, OrderTotal] = {}
        for start in range(0, len(wanted), _MOST_BY_ID):
            some = await self._client.totals(order_id=wanted[start : start + _MOST_BY_ID], limit=_MOST_BY_ID)
            found.update((order.order_id, order) for order in some)
        return found

    @property
    def _client(self) -> OrdersClient:
        return self._context.calls()(OrdersClient)


@asynccontextmanager
async def open_order_totals(context: ServiceContext) -> AsyncIterator[OrderTotals]:
    """Open the service's access to order totals."""
    yield OrderTotals(context)


class Reconciliation:
    """Compares the payments with the ledger, the provider's charges and the orders."""

    def __init__(self, reader: Reader, provider: PaymentProvider, orders: OrderTotals) -> None:
        self._reader = reader
        self._provider = provider
        self._orders = orders
        self._sections = {
            "payments": self._check_payments,
            "charges": self._check_charges,
            "transactions": self._check_transactions,
            "orders": self._check_orders,
        }

    async def run(self, start: Position | None, *, limit: int) -> Report:
        """Check `limit` rows from `start`. Without `start`, begin at the first row and check all balances too."""
        report = Report(accounts=await balances(self._reader) if start is None else None)
        if report.accounts is not None:
            report.mismatches.extend(unbalanced_currencies(report.accounts))
        position: Position | None = start or Position()
        while position is not None and limit > 0:
            result = await self._sections[position.section](position.after, limit)
            report.checked[position.section] += result.count
            report.mismatches.extend(result.mismatches)
            report.skipped |= result.skipped
            limit -= result.count
            position = position.next_section() if result.after is None else Position(position.section, result.after)
        report.next = position
        return report

    async def _check_payments(self, after: str | None, limit: int) -> SectionResult:
        async with self._reader.snapshot() as snapshot:
            payments = await Payments(snapshot).after(after, limit=limit)
            payment_ids = [payment.payment_id for payment in payments]
            held = await held_for(snapshot, payment_ids)
            refunds = await Refunds(snapshot).misreported(payment_ids)
        result = SectionResult(len(payments), payments[-1].payment_id if len(payments) == limit else None)
        result.mismatches.extend(
            _present(compare_with_ledger(each, held.get(each.payment_id, {})) for each in payments)
        )
        orders = {payment.payment_id: payment.order_id for payment in payments}
        rows: list[Payment | Refund] = [*payments, *refunds]
        result.mismatches.extend(_present(compare_with_report(each, orders[each.payment_id]) for each in rows))
        charged = [payment for payment in payments if payment.charged_at is not None]
        try:
            result.mismatches.extend(await self._missing_at_provider(charged))
        except ProviderUnavailable:
            result.skipped.add("provider")
        try:
            result.mismatches.extend(await self._unknown_orders(charged))
        except CallError:
            result.skipped.add("orders")
        return result

    async def _missing_at_provider(self, payments: Sequence[Payment]) -> list[Mismatch]:
        slots = asyncio.Semaphore(_CONCURRENCY)

        async def check(payment: Payment) -> Mismatch | None:
            async with slots:
                found = await self._provider.find_charge(payment.payment_id)
            return None if found is not None else missing_at_provider(payment)

        return _present(await asyncio.gather(*(check(payment) for payment in payments)))

    async def _unknown_orders(self, payments: Sequence[Payment]) -> list[Mismatch]:
        collected = [payment for payment in payments if payment.collected_minor and not payment.refunding_minor]
        known = await self._orders.by_id([payment.order_id for payment in collected]) if collected else {}
        return [unknown_order(payment) for payment in collected if payment.order_id not in known]

    async def _check_charges(self, after: str | None, limit: int) -> SectionResult:
        try:
            charges = await self._provider.charges(after=after, limit=limit)
            payments = await Payments(self._reader).by_id([charge.key for charge in charges])
            doubtful = [charge for charge in charges if compare_with_charge(payments.get(charge.key), charge)]
            mismatches = [await self._recheck(charge) for charge in doubtful]
        except ProviderUnavailable:
            return SectionResult(0, None, skipped={"provider"})
        last = charges[-1].charge_id if len(charges) == limit else None
        return SectionResult(len(charges), last, _present(mismatches))

    async def _recheck(self, charge: ProviderCharge) -> Mismatch | None:
        """Compare a charge again, unless the payment changes while the provider is asked."""
        payments = Payments(self._reader)
        before = (await payments.by_id([charge.key])).get(charge.key)
        again = await self._provider.find_charge(charge.key)
        after = (await payments.by_id([charge.key])).get(charge.key)
        if again is None or (before is None) != (after is None):
            return None
        if before is not None and after is not None and before.revision != after.revision:
            return None
        return compare_with_charge(after, again)

    async def _check_transactions(self, after: str | None, limit: int) -> SectionResult:
        found = await transactions_after(self._reader, after, limit=limit)
        known = await Payments(self._reader).existing_ids({row.payment_id for row in found})
        result = SectionResult(len(found), found[-1].transaction_id if len(found) == limit else None)
        unknown = {row.payment_id for row in found} - known
        held = await held_for(self._reader, unknown) if unknown else {}
        result.mismatches.extend(unknown_payment(each, held.get(each, {})) for each in sorted(unknown))
        unbalanced = await imbalances(self._reader, [row.transaction_id for row in found]) if found else []
        result.mismatches.extend(unbalanced_transaction(each) for each in unbalanced)
        return result

    async def _check_orders(self, after: str | None, limit: int) -> SectionResult:
        try:
            orders = await self._orders.after(None if after is None else OrderId(after), limit=limit)
            doubtful = await self._differing(orders)
            again = await self._orders.by_id([order.order_id for order in doubtful]) if doubtful else {}
            unchanged = [again[order.order_id] for order in doubtful if again.get(order.order_id) == order]
            confirmed = await self._differing(unchanged)
        except CallError:
            return SectionResult(0, None, skipped={"orders"})
        last = orders[-1].order_id if len(orders) >= limit else None
        return SectionResult(len(orders), last, list(confirmed.values()))

    async def _differing(self, orders: Sequence[OrderTotal]) -> dict[OrderTotal, Mismatch]:
        collected = await collected_for(self._reader, [order.order_id for order in orders]) if orders else {}
        found = {order: compare_with_order(order, collected.get(order.order_id, Collected({}, {}))) for order in orders}
        return {order: mismatch for order, mismatch in found.items() if mismatch is not None}


def _present(mismatches: Iterable[Mismatch | None]) -> list[Mismatch]:
    return [mismatch for mismatch in mismatches if mismatch is not None]
