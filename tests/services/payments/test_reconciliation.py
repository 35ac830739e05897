from collections.abc import Collection, Sequence
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import delete, insert, update
from tests.services.payments.support import charge, draft, refund, void

from portico.contracts.orders import OrderId, OrderStatus, OrderTotal
from portico.contracts.payments import PaymentId
from portico.kit.auth import UserId
from portico.kit.calls.errors import Unreachable
from portico.kit.foundation.money import Money
from portico.services.payments.ledger.order_totals import OrderTotals
from portico.services.payments.ledger.repository import ENTRIES, TRANSACTIONS, post
from portico.services.payments.models import Payment
from portico.services.payments.provider import PaymentProvider, ProviderCharge, ProviderUnavailable
from portico.services.payments.simulated_provider.models import ChargeId, SimulatedCharge
from portico.services.payments.simulated_provider.provider import SimulatedProvider
from portico.testing.running_service import RunningService


class Orders(OrderTotals):
    """The orders as the test says."""

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
    payments.context.provided[OrderTotals] = found = Orders()
    return found


async def paid(payments: RunningService, orders: Orders, *, status: OrderStatus = "confirmed", **changes: Any) -> Any:
    """An order and its payment."""
    made = await charge(payments, **changes)
    orders.add(made["order_id"], made["amount"], status, made["currency"])
    return made


async def reconcile(payments: RunningService, **params: Any) -> Any:
    answer = await payments.as_user("payments:read").get("/ledger/reconcile", params=params)
    assert answer.status_code == 200, answer.content
    return answer.json()


async def the_one(payments: RunningService) -> dict[str, Any]:
    """The only thing that does not match."""
    report = await reconcile(payments)
    assert not report["matches"]
    (found,) = report["mismatches"]
    return {name: value for name, value in found.items() if name != "detail" and value is not None}


async def write(payments: RunningService, statement: Any) -> None:
    """Do what nobody may do: write past the models."""
    async with payments.context.transaction() as work:
        await work.execute(statement.execution_options(synchronize_session=False))


class TestWhatMatches:
    async def test_is_all_that_went_as_it_should(self, payments: RunningService, orders: Orders) -> None:
        await paid(payments, orders)
        await paid(payments, orders, amount=500, currency="JPY")
        await charge(payments, method="pm_declined")
        await charge(payments, method="pm_slow")
        returned = await paid(payments, orders, status="returned")
        await refund(payments, returned["payment_id"])
        cancelled = draft()
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

    async def test_is_an_order_of_which_some_was_given_back(self, payments: RunningService, orders: Orders) -> None:
        scratched = await paid(payments, orders)
        await refund(payments, scratched["payment_id"], amount=5, currency="USD")
        given_away = await paid(payments, orders, status="delivered")
        await refund(payments, given_away["payment_id"])

        assert (await reconcile(payments))["matches"] is True

    async def test_is_an_order_that_was_paid_twice_and_given_back_once(
        self, payments: RunningService, orders: Orders
    ) -> None:
        made = await paid(payments, orders)
        again = (await charge(payments, order_id=made["order_id"]))["payment_id"]
        await refund(payments, again)

        assert (await reconcile(payments))["matches"] is True

    async def test_is_nothing_at_all(self, payments: RunningService, orders: Orders) -> None:
        assert (await reconcile(payments))["matches"] is True

    @pytest.mark.parametrize("status", ["pending", "reserved", "paid"])
    async def test_is_an_order_that_is_not_decided(
        self, payments: RunningService, orders: Orders, status: OrderStatus
    ) -> None:
        await paid(payments, orders, status=status)

        assert (await reconcile(payments))["matches"] is True


class TestWhatDoesNot:
    """Each kind of mismatch, planted."""

    async def test_a_transaction_that_lost_an_entry(self, payments: RunningService, orders: Orders) -> None:
        made = await paid(payments, orders)
        await write(payments, delete(ENTRIES).where(ENTRIES.c.account == "orders"))

        report = await reconcile(payments)

        whole, one = report["mismatches"]
        assert (whole["kind"], whole["payment_id"], whole["found"]) == ("ledger_unbalanced", None, 25)
        assert (one["kind"], one["payment_id"], one["found"]) == ("ledger_unbalanced", made["payment_id"], 25)

    async def test_a_ledger_with_another_sum(self, payments: RunningService, orders: Orders) -> None:
        made = await paid(payments, orders)
        await write(payments, update(ENTRIES).values(amount_minor=ENTRIES.c.amount_minor * 2))

        assert await the_one(payments) == {
            "kind": "ledger_differs",
            "payment_id": made["payment_id"],
            "order_id": made["order_id"],
            "currency": "USD",
            "expected": 25,
            "found": 50,
        }

    async def test_a_ledger_that_misses_a_payment(self, payments: RunningService, orders: Orders) -> None:
        made = await paid(payments, orders)
        await write(payments, delete(ENTRIES))
        await write(payments, delete(TRANSACTIONS))

        found = await the_one(payments)
        assert (found["kind"], found["payment_id"]) == ("ledger_differs", made["payment_id"])
        assert (found["expected"], found["found"]) == (25, 0)

    async def test_a_ledger_in_another_currency(self, payments: RunningService, orders: Orders) -> None:
        await paid(payments, orders)
        await write(payments, update(ENTRIES).values(currency="EUR"))

        found = await the_one(payments)
        assert (found["kind"], found["currency"], found["found"]) == ("ledger_differs", "EUR", 25)

    async def test_a_ledger_that_knows_a_payment_that_is_not(self, payments: RunningService, orders: Orders) -> None:
        payment_id = PaymentId.new()
        async with payments.context.transaction() as work:
            await post(work, "charge", payment_id, payment_id, Money(700, "USD"))

        assert await the_one(payments) == {
            "kind": "ledger_unknown_payment",
            "payment_id": payment_id,
            "currency": "USD",
            "expected": 0,
            "found": 7,
        }

    async def test_a_payment_that_the_provider_never_heard_of(self, payments: RunningService, orders: Orders) -> None:
        made = await paid(payments, orders)
        await write(payments, delete(SimulatedCharge))

        found = await the_one(payments)
        assert (found["kind"], found["payment_id"]) == ("provider_missing", made["payment_id"])
        assert (found["expected"], found["found"]) == (25, 0)

    @pytest.mark.parametrize(
        ("planted", "kept"), [({"amount_minor": 2600}, 26), ({"refunded_minor": 500}, 20), ({"status": "failed"}, 0)]
    )
    async def test_a_provider_that_has_another_sum(
        self, payments: RunningService, orders: Orders, planted: dict[str, Any], kept: float
    ) -> None:
        made = await paid(payments, orders)
        await write(payments, update(SimulatedCharge).values(**planted))

        found = await the_one(payments)
        assert (found["kind"], found["payment_id"]) == ("provider_differs", made["payment_id"])
        assert found["reference"].startswith("ch_")
        assert (found["expected"], found["found"]) == (25, kept)

    async def test_a_charge_of_a_payment_that_failed(self, payments: RunningService, orders: Orders) -> None:
        await charge(payments, method="pm_declined")
        await write(payments, update(SimulatedCharge).values(status="succeeded"))

        found = await the_one(payments)
        assert (found["kind"], found["expected"], found["found"]) == ("provider_differs", 0, 25)

    async def test_a_charge_that_nobody_asked_for(self, payments: RunningService, orders: Orders) -> None:
        row = {
            "key": "another shop's",
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

        found = await the_one(payments)
        assert (found["kind"], found["reference"]) == ("provider_unknown_payment", row["charge_id"])
        assert found["found"] == 9

    async def test_money_for_an_order_that_is_not(self, payments: RunningService, orders: Orders) -> None:
        made = await charge(payments)

        found = await the_one(payments)
        assert (found["kind"], found["order_id"], found["found"]) == ("order_unknown", made["order_id"], 25)

    async def test_an_order_that_was_not_paid(self, payments: RunningService, orders: Orders) -> None:
        orders.add(order_id := OrderId.new(), total=12.5)

        found = await the_one(payments)
        assert (found["kind"], found["order_id"]) == ("order_differs", order_id)
        assert (found["expected"], found["found"]) == (12.5, 0)

    async def test_an_order_that_was_paid_twice(self, payments: RunningService, orders: Orders) -> None:
        made = await paid(payments, orders)
        await charge(payments, order_id=made["order_id"])

        found = await the_one(payments)
        assert (found["kind"], found["expected"], found["found"]) == ("order_differs", 25, 50)

    async def test_an_order_that_stands_and_whose_payment_was_voided(
        self, payments: RunningService, orders: Orders
    ) -> None:
        made = draft()
        await charge(payments, **made)
        orders.add(made["order_id"], total=25)
        await void(payments, made["key"])

        found = await the_one(payments)
        assert (found["kind"], found["expected"], found["found"]) == ("order_differs", 25, 0)

    async def test_an_order_that_was_paid_twice_and_given_back_in_part(
        self, payments: RunningService, orders: Orders
    ) -> None:
        made = await paid(payments, orders)
        await charge(payments, order_id=made["order_id"])
        await refund(payments, made["payment_id"], amount=5, currency="USD")

        found = await the_one(payments)
        assert (found["kind"], found["expected"], found["found"]) == ("order_differs", 25, 45)

    @pytest.mark.parametrize("status", ["cancelled", "failed", "returned"])
    async def test_an_order_that_is_over_and_whose_money_is_kept(
        self, payments: RunningService, orders: Orders, status: OrderStatus
    ) -> None:
        await paid(payments, orders, status=status)

        found = await the_one(payments)
        assert (found["kind"], found["expected"], found["found"]) == ("order_differs", 0, 25)


class TestPages:
    async def test_lead_through_all_of_the_books(self, payments: RunningService, orders: Orders) -> None:
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

    async def test_are_asked_for_rightly(self, payments: RunningService, orders: Orders) -> None:
        reader = payments.as_user("payments:read")

        for cursor in ("x", "W10", "WyJwYXltZW50cyIsN10", "WyJub3RoaW5nIixudWxsXQ", "💶"):
            answer = await reader.get("/ledger/reconcile", params={"cursor": cursor})
            assert (answer.status_code, answer.json()["code"]) == (422, "invalid_cursor")
        assert (await reader.get("/ledger/reconcile?limit=1001")).status_code == 422

    async def test_are_for_those_who_may(self, payments: RunningService) -> None:
        assert (await payments.as_user().get("/ledger/reconcile")).json()["permission"] == "payments:read"
        assert (await payments.anonymous.get("/ledger/reconcile")).status_code == 401


class TestWhoCanNotBeAsked:
    async def test_orders_that_are_down_are_skipped_and_named(self, payments: RunningService, orders: Orders) -> None:
        await paid(payments, orders)
        orders.down = True

        report = await reconcile(payments)

        assert (report["matches"], report["skipped"], report["mismatches"]) == (False, ["orders"], [])

    async def test_so_is_a_provider(self, payments: RunningService, orders: Orders) -> None:
        class Down(SimulatedProvider):
            async def find_charge(self, key: str) -> ProviderCharge | None:
                raise ProviderUnavailable

            async def charges(self, *, after: str | None, limit: int) -> Sequence[ProviderCharge]:
                raise ProviderUnavailable

        await paid(payments, orders)
        payments.context.provided[PaymentProvider] = Down(payments.context)

        report = await reconcile(payments)

        assert (report["matches"], report["skipped"], report["mismatches"]) == (False, ["provider"], [])


class TestWhatIsOnItsWay:
    async def test_a_refund_is_no_mismatch(self, payments: RunningService, orders: Orders) -> None:
        class Unsure(SimulatedProvider):
            async def refund(self, key: str, charge_id: str, amount: Money) -> Any:
                await super().refund(key, charge_id, amount)
                raise ProviderUnavailable

        made = await paid(payments, orders, status="cancelled")
        payments.context.provided[PaymentProvider] = Unsure(payments.context)
        assert (await refund(payments, made["payment_id"])).json()["status"] == "processing"

        assert (await reconcile(payments))["matches"] is True

    async def test_a_payment_that_moves_while_it_is_looked_at_is_none(
        self, payments: RunningService, orders: Orders
    ) -> None:
        class Moves(SimulatedProvider):
            async def charges(self, *, after: str | None, limit: int) -> Sequence[ProviderCharge]:
                found = await super().charges(after=after, limit=limit)
                if after is None and found:
                    await refund(payments, found[0].key)
                return found

        made = await paid(payments, orders, status="paid")
        payments.context.provided[PaymentProvider] = Moves(payments.context)

        assert (await reconcile(payments))["matches"] is True
        async with payments.context.reader() as reader:
            payment = await reader.get(Payment, made["payment_id"])
        assert payment is not None
        assert payment.refunded_minor == 2500
