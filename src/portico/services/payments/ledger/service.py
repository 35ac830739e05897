"""Reconciliation, one page at a time. A difference is checked a second time, because payments continue meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

from portico.contracts.bookings import BookingId
from portico.contracts.orders import OrderId
from portico.kit import Reader
from portico.kit.calls import CallError
from portico.services.payments.ledger.domain import (
    Collected,
    Mismatch,
    Neighbour,
    Owed,
    Position,
    Report,
    Section,
    SectionResult,
    Seller,
    compare_with_charge,
    compare_with_ledger,
    compare_with_owed,
    compare_with_report,
    missing_at_provider,
    owed_for_booking,
    owed_for_order,
    unbalanced_currencies,
    unbalanced_transaction,
    unknown_payment,
    unknown_purchase,
)
from portico.services.payments.ledger.repository import (
    balances,
    collected_for,
    held_for,
    imbalances,
    transactions_after,
)
from portico.services.payments.ledger.totals import BookingTotals, OrderTotals
from portico.services.payments.models import Payment, Refund
from portico.services.payments.provider import PaymentProvider, ProviderCharge, ProviderUnavailable
from portico.services.payments.repository import Payments, Refunds

_CONCURRENCY: Final = 8


Check = Callable[[str | None, int], Awaitable[SectionResult]]


class Reconciliation:
    """Compares the payments with the ledger, the provider's charges, the orders and the bookings."""

    def __init__(self, reader: Reader, provider: PaymentProvider, orders: OrderTotals, bookings: BookingTotals) -> None:
        self._reader = reader
        self._provider = provider
        self._orders = orders
        self._bookings = bookings
        self._sections: dict[Section, Check] = {
            "payments": self._check_payments,
            "charges": self._check_charges,
            "transactions": self._check_transactions,
        }
        if orders.is_present:
            self._sections["orders"] = self._check_orders
        if bookings.is_present:
            self._sections["bookings"] = self._check_bookings

    async def run(self, start: Position | None, *, limit: int) -> Report:
        """Check `limit` rows from `start`. Without `start`, begin at the first row and check all balances too."""
        accounts = await balances(self._reader) if start is None else None
        report = Report(dict.fromkeys(self._sections, 0), accounts=accounts)
        if report.accounts is not None:
            report.mismatches.extend(unbalanced_currencies(report.accounts))
        position: Position | None = start or Position()
        while position is not None and limit > 0:
            check = self._sections.get(position.section)
            if check is None:
                position = position.next_section()
                continue
            result = await check(position.after, limit)
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
        of = {payment.payment_id: payment for payment in payments}
        rows: list[Payment | Refund] = [*payments, *refunds]
        result.mismatches.extend(_present(compare_with_report(each, of[each.payment_id]) for each in rows))
        charged = [payment for payment in payments if payment.charged_at is not None]
        try:
            result.mismatches.extend(await self._missing_at_provider(charged))
        except ProviderUnavailable:
            result.skipped.add("provider")
        unknown, skipped = await self._unknown_purchases(charged)
        result.mismatches.extend(unknown)
        result.skipped |= skipped
        return result

    async def _missing_at_provider(self, payments: Sequence[Payment]) -> list[Mismatch]:
        slots = asyncio.Semaphore(_CONCURRENCY)

        async def check(payment: Payment) -> Mismatch | None:
            async with slots:
                found = await self._provider.find_charge(payment.payment_id)
            return None if found is not None else missing_at_provider(payment)

        return _present(await asyncio.gather(*(check(payment) for payment in payments)))

    async def _unknown_purchases(self, payments: Sequence[Payment]) -> tuple[list[Mismatch], set[Neighbour]]:
        """Return the payments whose order or booking does not exist, and the services that could not be asked."""
        collected = [payment for payment in payments if payment.collected_minor and not payment.refunding_minor]
        orders = {payment.order_id for payment in collected if payment.order_id is not None}
        bookings = {payment.booking_id for payment in collected if payment.booking_id is not None}
        known: set[str] = set()
        skipped: set[Neighbour] = set()
        try:
            if self._orders.is_present and orders:
                known |= (await self._orders.by_id(orders)).keys()
        except CallError:
            skipped.add("orders")
            known.update(orders)
        try:
            if self._bookings.is_present and bookings:
                known |= (await self._bookings.by_id(bookings)).keys()
        except CallError:
            skipped.add("bookings")
            known.update(bookings)
        return [unknown_purchase(payment) for payment in collected if payment.reference not in known], skipped

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
        start = None if after is None else OrderId(after)
        return await self._check_owed("orders", self._orders, start, limit, owed_for_order)

    async def _check_bookings(self, after: str | None, limit: int) -> SectionResult:
        start = None if after is None else BookingId(after)
        return await self._check_owed("bookings", self._bookings, start, limit, owed_for_booking)

    async def _check_owed(
        self,
        seller: Seller,
        totals: Any,
        start: Any,
        limit: int,
        owed_for: Callable[[Any], Owed],
    ) -> SectionResult:
        """Compare what one service sold with what was collected for it."""
        try:
            owed = [owed_for(each) for each in await totals.after(start, limit=limit)]
            doubtful = await self._differing(seller, owed)
            again = await totals.by_id([each.reference for each in doubtful]) if doubtful else {}
            unchanged = [
                each for each in doubtful if each.reference in again and owed_for(again[each.reference]) == each
            ]
            confirmed = await self._differing(seller, unchanged)
        except CallError:
            return SectionResult(0, None, skipped={seller})
        last = owed[-1].reference if len(owed) >= limit else None
        return SectionResult(len(owed), last, list(confirmed.values()))

    async def _differing(self, seller: Seller, owed: Sequence[Owed]) -> dict[Owed, Mismatch]:
        references = [each.reference for each in owed]
        collected = await collected_for(self._reader, seller, references) if owed else {}
        found = {each: compare_with_owed(each, collected.get(each.reference, Collected({}, {}))) for each in owed}
        return {each: mismatch for each, mismatch in found.items() if mismatch is not None}


def _present(mismatches: Iterable[Mismatch | None]) -> list[Mismatch]:
    return [mismatch for mismatch in mismatches if mismatch is not None]
