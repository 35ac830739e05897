from collections.abc import Collection, Sequence
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import delete, insert, update
from tests.services.payments.support import charge, charge_body, refund, void

from portico.contracts.orders import OrderId, OrderStatus, OrderTotal
from portico.contracts.payments import PaymentId
from portico.kit.auth import UserId
from portico.kit.calls.errors import Unreachable
from portico.kit.foundation.money import Money
from portico.services.payments.ledger.repository import ENTRIES, TRANSACTIONS, Posting, post
from portico.services.payments.ledger.totals import OrderTotals
from portico.services.payments.models import Payment
from portico.services.payments.provider import PaymentProvider, ProviderCharge, ProviderUnavailable
from portico.services.payments.simulated_provider.models import ChargeId, SimulatedCharge
from portico.services.payments.simulated_provider.provider import SimulatedProvider
from portico.testing.running_service import RunningService


class Orders(OrderTotals):
    """The orders that the test adds."""

    is_present = True

    def __init__(self) -> None:
        self.there: dict[OrderId, OrderTotal] = {}
        self.down = False

    def add(self, order_id: str, total: float = 25, status: OrderStatus = "confirmed", currency: str = "USD") -> None:
        order = OrderTotal(
            order_id=OrderId(order_id),
            user_id=UserId.new(),
            status=status,
            total=Decimal(str(total)),
            currency=currency,
        )
        self.there[order.order_id] = order

    async def after(self, order_id: OrderId | None, *, limit: int) -> Sequence[OrderTotal]:
        self._answer()
        return [self.there[each] for each in sorted(self.there) if order_id is None or each > order_id][:limit]

    async def by_id(self, order_ids: Collection[OrderId]) -> dict[OrderId, OrderTotal]:
        self._answer()
        return {each: self.there[each] for each in order_ids if each in self.there}

    def _answer(self) -> None:
        if self.down:
            raise Unreachable("orders", "is down")


@pytest.fixture
async def orders(payments: RunningService) -> Orders:
    payments.context.resources[OrderTotals] = found = Orders()
    return found


async def paid(payments: RunningService, orders: Orders, *, status: OrderStatus = "confirmed", **changes: Any) -> Any:
    """Create an order and its payment."""
    payment = await charge(payments, **changes)
    orders.add(payment["order_id"], payment["amount"], status, payment["currency"])
    return payment


async def reconcile(payments: RunningService, **params: Any) -> Any:
    response = await payments.as_user("payments:read").get("/ledger/reconcile", params=params)
    assert response.status_code == 200, response.content
    return response.json()


async def single_mismatch(payments: RunningService) -> dict[str, Any]:
    """Return the only mismatch."""
    report = await reconcile(payments)
    assert not report["matches"]
    (found,) = report["mismatches"]
    return {name: value for name, value in found.items() if name != "detail" and value is not None}


async def write(payments: RunningService, statement: Any) -> None:
    """Write directly to the tables, bypassing the models."""
    async with payments.context.transaction() as work:
        await work.execute(statement.execution_options(synchronize_session=False))


class TestMatches:
    async def test_regular_payments_match(self, payments: RunningService, orders: Orders) -> None:
        await paid(payments, orders)
        await paid(payments, orders, amount=500, currency="JPY")
        await charge(payments, method="pm_declined")
        await charge(payments, method="pm_slow")
        returned = await paid(payments, orders, status="returned")
        await refund(payments, returned["payment_id"])
        cancelled = charge_body()
        await charge(payments, **cancelled)
        orders.add(cancelled["order_id"], status="cancelled")
        await void(payments, cancelled["key"])
        orders.add(OrderId.new(), status="pending")
        orders.add(OrderId.new(), status="failed")
        orders.add(OrderId.new(), total=0)

        report = await reconcile(payments)

        assert report == {
            "matches": True,
            "checked": {"payments": 6, "charges": 6, "transactions": 6, "orders": 7},
            "skipped": [],
            "accounts": [
                {"account": "orders", "currency": "JPY", "balance": -500},
                {"account": "provider", "currency": "JPY", "balance": 500},
                {"account": "orders", "currency": "USD", "balance": -75},
                {"account": "provider", "currency": "USD", "balance": 25},
                {"account": "refunds", "currency": "USD", "balance": 50},
            ],
            "mismatches": [],
            "next_cursor": None,
        }

    async def test_refunds_by_staff_match(self, payments: RunningService, orders: Orders) -> None:
        scratched = await paid(payments, orders)
        await refund(payments, scratched["payment_id"], amount=5, currency="USD")
        given_away = await paid(payments, orders, status="delivered")
        await refund(payments, given_away["payment_id"])

        assert (await reconcile(payments))["matches"] is True

    async def test_double_payment_refunded_once_matches(self, payments: RunningService, orders: Orders) -> None:
        payment = await paid(payments, orders)
        again = (await charge(payments, order_id=payment["order_id"]))["payment_id"]
        await refund(payments, again)

        assert (await reconcile(payments))["matches"] is True

    async def test_empty_ledger_matches(self, payments: RunningService, orders: Orders) -> None:
        assert (await reconcile(payments))["matches"] is True

    @pytest.mark.parametrize("status", ["pending", "reserved", "paid"])
    async def test_undecided_order_matches(self, payments: RunningService, orders: Orders, status: OrderStatus) -> None:
        await paid(payments, orders, status=status)

        assert (await reconcile(payments))["matches"] is True


class TestMismatches:
    """Each kind of mismatch is injected."""

    async def test_transaction_without_one_entry(self, payments: RunningService, orders: Orders) -> None:
        payment = await paid(payments, orders)
        await write(payments, delete(ENTRIES).where(ENTRIES.c.account == "orders"))

        report = await reconcile(payments)

        currency, transaction = report["mismatches"]
        assert (currency["kind"], currency["payment_id"], currency["found"]) == ("ledger_unbalanced", None, 25)
        assert (transaction["kind"], transaction["payment_id"], transaction["found"]) == (
            "ledger_unbalanced",
            payment["payment_id"],
            25,
        )

    async def test_ledger_with_another_sum(self, payments: RunningService, orders: Orders) -> None:
        payment = await paid(payments, orders)
        await write(payments, update(ENTRIES).values(amount_minor=ENTRIES.c.amount_minor * 2))

        assert await single_mismatch(payments) == {
            "kind": "ledger_differs",
            "payment_id": payment["payment_id"],
            "order_id": payment["order_id"],
            "currency": "USD",
            "expected": 25,
            "found": 50,
        }

    async def test_ledger_without_the_payment(self, payments: RunningService, orders: Orders) -> None:
        payment = await paid(payments, orders)
        await write(payments, delete(ENTRIES))
        await write(payments, delete(TRANSACTIONS))

        found = await single_mismatch(payments)
        assert (found["kind"], found["payment_id"]) == ("ledger_differs", payment["payment_id"])
        assert (found["expected"], found["found"]) == (25, 0)

    async def test_ledger_in_another_currency(self, payments: RunningService, orders: Orders) -> None:
        await paid(payments, orders)
        await write(payments, update(ENTRIES).values(currency="EUR"))

        found = await single_mismatch(payments)
        assert (found["kind"], found["currency"], found["found"]) == ("ledger_differs", "EUR", 25)

    async def test_ledger_entries_of_an_unknown_payment(self, payments: RunningService, orders: Orders) -> None:
        payment_id = PaymentId.new()
        async with payments.context.transaction() as work:
            await post(work, Posting("charge", payment_id, payment_id, Money(700, "USD")))

        assert await single_mismatch(payments) == {
            "kind": "ledger_unknown_payment",
            "payment_id": payment_id,
            "currency": "USD",
            "expected": 0,
            "found": 7,
        }

    async def test_payment_without_charge_at_the_provider(self, payments: RunningService, orders: Orders) -> None:
        payment = await paid(payments, orders)
        await write(payments, delete(SimulatedCharge))

        found = await single_mismatch(payments)
        assert (found["kind"], found["payment_id"]) == ("provider_missing", payment["payment_id"])
        assert (found["expected"], found["found"]) == (25, 0)

    @pytest.mark.parametrize(
        ("planted", "kept"), [({"amount_minor": 2600}, 26), ({"refunded_minor": 500}, 20), ({"status": "failed"}, 0)]
    )
    async def test_provider_with_another_amount(
        self, payments: RunningService, orders: Orders, planted: dict[str, Any], kept: float
    ) -> None:
        payment = await paid(payments, orders)
        await write(payments, update(SimulatedCharge).values(**planted))

        found = await single_mismatch(payments)
        assert (found["kind"], found["payment_id"]) == ("provider_differs", payment["payment_id"])
        assert found["reference"].startswith("ch_")
        assert (found["expected"], found["found"]) == (25, kept)

    async def test_charge_of_a_failed_payment(self, payments: RunningService, orders: Orders) -> None:
        await charge(payments, method="pm_declined")
        await write(payments, update(SimulatedCharge).values(status="succeeded"))

        found = await single_mismatch(payments)
        assert (found["kind"], found["expected"], found["found"]) == ("provider_differs", 0, 25)

    async def test_charge_without_payment(self, payments: RunningService, orders: Orders) -> None:
        row = {
            "key": "other-shop",
            "charge_id": ChargeId.new(),
            "reference": "",
            "amount_minor": 900,
            "currency": "USD",
            "method": "pm_ok",
            "status": "succeeded",
            "refunded_minor": 0,
            "requests": 1,
            "created_at": payments.clock.now(),
        }
        await write(payments, insert(SimulatedCharge).values(row))

        found = await single_mismatch(payments)
        assert (found["kind"], found["reference"]) == ("provider_unknown_payment", row["charge_id"])
        assert found["found"] == 9

    async def test_payment_of_an_unknown_order(self, payments: RunningService, orders: Orders) -> None:
        payment = await charge(payments)

        found = await single_mismatch(payments)
        assert (found["kind"], found["order_id"], found["found"]) == ("order_unknown", payment["order_id"], 25)

    async def test_order_without_payment(self, payments: RunningService, orders: Orders) -> None:
        orders.add(order_id := OrderId.new(), total=12.5)

        found = await single_mismatch(payments)
        assert (found["kind"], found["order_id"]) == ("order_differs", order_id)
        assert (found["expected"], found["found"]) == (12.5, 0)

    async def test_order_paid_twice(self, payments: RunningService, orders: Orders) -> None:
        payment = await paid(payments, orders)
        await charge(payments, order_id=payment["order_id"])

        found = await single_mismatch(payments)
        assert (found["kind"], found["expected"], found["found"]) == ("order_differs", 25, 50)

    async def test_sold_order_with_a_voided_payment(self, payments: RunningService, orders: Orders) -> None:
        payment = charge_body()
        await charge(payments, **payment)
        orders.add(payment["order_id"], total=25)
        await void(payments, payment["key"])

        found = await single_mismatch(payments)
        assert (found["kind"], found["expected"], found["found"]) == ("order_differs", 25, 0)

    async def test_order_paid_twice_and_refunded_in_part(self, payments: RunningService, orders: Orders) -> None:
        payment = await paid(payments, orders)
        await charge(payments, order_id=payment["order_id"])
        await refund(payments, payment["payment_id"], amount=5, currency="USD")

        found = await single_mismatch(payments)
        assert (found["kind"], found["expected"], found["found"]) == ("order_differs", 25, 45)

    @pytest.mark.parametrize("status", ["cancelled", "failed", "returned"])
    async def test_closed_order_that_was_not_refunded(
        self, payments: RunningService, orders: Orders, status: OrderStatus
    ) -> None:
        await paid(payments, orders, status=status)

        found = await single_mismatch(payments)
        assert (found["kind"], found["expected"], found["found"]) == ("order_differs", 0, 25)


class TestPages:
    async def test_cover_all_sections(self, payments: RunningService, orders: Orders) -> None:
        for _ in range(3):
            await paid(payments, orders)
        lost = await charge(payments)
        reports, cursor = [], None

        while not reports or cursor:
            reports.append(await reconcile(payments, limit=3, **({"cursor": cursor} if cursor else {})))
            cursor = reports[-1]["next_cursor"]

        assert [sum(report["checked"].values()) for report in reports] == [3, 3, 3, 3, 3, 0]
        assert [report["accounts"] is None for report in reports] == [False, True, True, True, True, True]
        assert [each["order_id"] for report in reports for each in report["mismatches"]] == [lost["order_id"]]

    async def test_reject_invalid_parameters(self, payments: RunningService, orders: Orders) -> None:
        reader = payments.as_user("payments:read")

        for cursor in ("x", "W10", "WyJwYXltZW50cyIsN10", "WyJub3RoaW5nIixudWxsXQ", "💶"):
            response = await reader.get("/ledger/reconcile", params={"cursor": cursor})
            assert (response.status_code, response.json()["code"]) == (422, "invalid_cursor")
        assert (await reader.get("/ledger/reconcile?limit=1001")).status_code == 422

    async def test_need_payments_read(self, payments: RunningService) -> None:
        assert (await payments.as_user().get("/ledger/reconcile")).json()["permission"] == "payments:read"
        assert (await payments.anonymous.get("/ledger/reconcile")).status_code == 401


class TestUnavailableSystems:
    async def test_orders_service_is_reported_as_skipped(self, payments: RunningService, orders: Orders) -> None:
        await paid(payments, orders)
        orders.down = True

        report = await reconcile(payments)

        assert (report["matches"], report["skipped"], report["mismatches"]) == (False, ["orders"], [])

    async def test_provider_is_reported_as_skipped(self, payments: RunningService, orders: Orders) -> None:
        class Down(SimulatedProvider):
            async def find_charge(self, key: str) -> ProviderCharge | None:
                raise ProviderUnavailable

            async def charges(self, *, after: str | None, limit: int) -> Sequence[ProviderCharge]:
                raise ProviderUnavailable

        await paid(payments, orders)
        payments.context.resources[PaymentProvider] = Down(payments.context)

        report = await reconcile(payments)

        assert (report["matches"], report["skipped"], report["mismatches"]) == (False, ["provider"], [])


class TestInProgress:
    async def test_refund_is_not_a_mismatch(self, payments: RunningService, orders: Orders) -> None:
        class AnswerLost(SimulatedProvider):
            async def refund(self, key: str, charge_id: str, amount: Money) -> Any:
                await super().refund(key, charge_id, amount)
                raise ProviderUnavailable

        payment = await paid(payments, orders, status="cancelled")
        payments.context.resources[PaymentProvider] = AnswerLost(payments.context)
        assert (await refund(payments, payment["payment_id"])).json()["status"] == "processing"

        assert (await reconcile(payments))["matches"] is True

    async def test_payment_that_changes_during_the_check_is_not_a_mismatch(
        self, payments: RunningService, orders: Orders
    ) -> None:
        class Moves(SimulatedProvider):
            async def charges(self, *, after: str | None, limit: int) -> Sequence[ProviderCharge]:
                found = await super().charges(after=after, limit=limit)
                if after is None and found:
                    await refund(payments, found[0].key)
                return found

        payment = await paid(payments, orders, status="paid")
        payments.context.resources[PaymentProvider] = Moves(payments.context)

        assert (await reconcile(payments))["matches"] is True
        async with payments.context.reader() as reader:
            payment = await reader.get(Payment, payment["payment_id"])
        assert payment is not None
        assert payment.refunded_minor == 2500
