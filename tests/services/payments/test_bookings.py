"""Payments of bookings: the same rules as for orders, with events, an account and a reconciliation of their own."""

from collections.abc import Collection, Sequence
from decimal import Decimal
from typing import Any

import pytest
from tests.services.payments.support import charge_body, ledger_balances, published_types, refund, void

from portico.contracts.bookings import BookingId, BookingStatus, BookingTotal
from portico.contracts.orders import OrderId
from portico.contracts.payments import BookingPaymentFailed, BookingPaymentProcessed, BookingPaymentRefunded, PaymentId
from portico.kit.auth import UserId
from portico.kit.calls.errors import Unreachable
from portico.services.payments.ledger.totals import BookingTotals
from portico.testing.running_service import RunningService


class Bookings(BookingTotals):
    """The bookings that the test adds."""

    is_present = True

    def __init__(self) -> None:
        self.there: dict[BookingId, BookingTotal] = {}
        self.down = False

    def add(
        self, booking_id: str, amount: float = 25, status: BookingStatus = "CONFIRMED", *, refunded: float = 0
    ) -> None:
        self.there[BookingId(booking_id)] = BookingTotal(
            booking_id=BookingId(booking_id),
            user_id=UserId.new(),
            status=status,
            amount=Decimal(str(amount)),
            refunded=Decimal(str(refunded)),
            currency="USD",
            created_at="2026-01-05T09:00:00Z",  # type: ignore[arg-type]  # as in JSON
        )

    async def after(self, booking_id: BookingId | None, *, limit: int) -> Sequence[BookingTotal]:
        self._answer()
        return [self.there[each] for each in sorted(self.there) if booking_id is None or each > booking_id][:limit]

    async def by_id(self, booking_ids: Collection[BookingId]) -> dict[BookingId, BookingTotal]:
        self._answer()
        return {each: self.there[each] for each in booking_ids if each in self.there}

    def _answer(self) -> None:
        if self.down:
            raise Unreachable("bookings", "is down")


@pytest.fixture
async def bookings(booking_payments: RunningService) -> Bookings:
    booking_payments.context.resources[BookingTotals] = found = Bookings()
    return found


async def charge_booking(payments: RunningService, **changes: Any) -> dict[str, Any]:
    """Charge for a booking as the bookings service and return the payment."""
    booking_id = BookingId.new()
    body = charge_body(key=f"booking:{booking_id}", booking_id=booking_id, **changes)
    del body["order_id"]
    response = await payments.as_service("bookings").post("/payments", json=body)
    assert response.status_code == 201, response.content
    return response.json()


async def mismatches(payments: RunningService) -> list[tuple[str, str | None, float, float]]:
    """Return kind, booking, and the expected and found amounts of each mismatch."""
    response = await payments.as_user("payments:read").get("/ledger/reconcile")
    assert response.status_code == 200, response.content
    return [
        (each["kind"], each.get("booking_id"), each["expected"], each["found"])
        for each in response.json()["mismatches"]
    ]


class TestCharging:
    async def test_charges_for_a_booking(self, booking_payments: RunningService) -> None:
        payment = await charge_booking(booking_payments)

        assert payment["status"] == "succeeded"
        assert payment["booking_id"].startswith("bkg_")
        assert "order_id" not in payment
        assert await ledger_balances(booking_payments) == {"provider": 2500, "bookings": -2500}
        (event,) = await booking_payments.published()
        assert isinstance(event, BookingPaymentProcessed)
        assert (event.booking_id, event.amount_minor) == (payment["booking_id"], 2500)

    async def test_the_payment_of_an_order_names_no_booking(self, payments: RunningService) -> None:
        answer = await payments.as_service("orders").post("/payments", json=charge_body())

        assert "booking_id" not in answer.json()

    async def test_needs_an_order_or_a_booking_and_not_both(self, booking_payments: RunningService) -> None:
        caller, both = booking_payments.as_service("bookings"), charge_body(booking_id=BookingId.new())
        neither = {name: value for name, value in charge_body().items() if name != "order_id"}

        for body in (both, neither):
            assert (await caller.post("/payments", json=body)).status_code == 422
        assert (await caller.get("/payments")).json() == []

    async def test_the_key_of_a_booking_does_not_charge_for_an_order(self, booking_payments: RunningService) -> None:
        payment = await charge_booking(booking_payments)
        other = charge_body(key=f"booking:{payment['booking_id']}", user_id=payment["user_id"])

        answer = await booking_payments.as_service("orders").post("/payments", json=other)

        assert (answer.status_code, answer.json()["code"]) == (422, "payment_key_reused")

    async def test_publishes_a_decline_and_a_refund_of_a_booking(self, booking_payments: RunningService) -> None:
        declined = await charge_booking(booking_payments, method="pm_declined")
        paid = await charge_booking(booking_payments)
        await refund(booking_payments, paid["payment_id"], amount=5)
        await void(booking_payments, f"booking:{paid['booking_id']}")

        failed, _, first, second = await booking_payments.published()
        assert isinstance(failed, BookingPaymentFailed)
        assert (failed.booking_id, failed.reason) == (declined["booking_id"], "card_declined")
        assert isinstance(first, BookingPaymentRefunded)
        assert isinstance(second, BookingPaymentRefunded)
        assert [(each.amount_minor, each.refunded_minor) for each in (first, second)] == [(500, 500), (2000, 2500)]
        assert second.booking_id == paid["booking_id"]
        assert "payment.processed" not in await published_types(booking_payments)

    async def test_lists_the_payments_of_a_booking(self, booking_payments: RunningService) -> None:
        payment = await charge_booking(booking_payments)
        await charge_booking(booking_payments)

        service, booking_id = booking_payments.as_service("bookings"), payment["booking_id"]

        assert (await service.get(f"/payments?booking_id={booking_id}")).json() == [payment]
        assert (await service.get(f"/payments/bookings/{booking_id}")).json() == [payment]
        assert (await booking_payments.as_user("*").get(f"/payments/bookings/{booking_id}")).status_code == 403


class TestReconciliation:
    async def test_paid_refunded_and_failed_bookings_match(
        self, booking_payments: RunningService, bookings: Bookings
    ) -> None:
        paid, part, whole, kept = [await charge_booking(booking_payments) for _ in range(4)]
        await refund(booking_payments, part["payment_id"], amount=10)
        await refund(booking_payments, whole["payment_id"])
        await refund(booking_payments, kept["payment_id"], amount=12.5)
        bookings.add(paid["booking_id"])
        bookings.add(part["booking_id"], refunded=10)
        bookings.add(whole["booking_id"], status="CANCELLED", refunded=25)
        bookings.add(kept["booking_id"], status="CANCELLED", refunded=12.5)
        bookings.add(BookingId.new(), status="FAILED")
        bookings.add(BookingId.new(), status="PENDING")

        report = (await booking_payments.as_user("payments:read").get("/ledger/reconcile")).json()

        assert report["mismatches"] == []
        assert report["matches"]
        assert report["checked"] == {"payments": 4, "charges": 4, "transactions": 7, "bookings": 6}

    async def test_reports_bookings_that_are_not_paid_or_not_refunded(
        self, booking_payments: RunningService, bookings: Bookings
    ) -> None:
        unpaid, cancelled, failed, unknown = BookingId.new(), BookingId.new(), BookingId.new(), BookingId.new()
        for booking_id in (cancelled, failed, unknown):
            body = charge_body(key=f"booking:{booking_id}", booking_id=booking_id)
            del body["order_id"]
            await booking_payments.as_service("bookings").post("/payments", json=body)
        bookings.add(unpaid)
        bookings.add(cancelled, status="CANCELLED", refunded=25)
        bookings.add(failed, status="EXPIRED")

        assert sorted(await mismatches(booking_payments)) == sorted(
            [
                ("booking_differs", unpaid, 25, 0),
                ("booking_differs", cancelled, 0, 25),
                ("booking_differs", failed, 0, 25),
                ("booking_unknown", unknown, 0, 25),
            ]
        )

    async def test_a_further_refund_by_staff_is_no_mismatch(
        self, booking_payments: RunningService, bookings: Bookings
    ) -> None:
        payment = await charge_booking(booking_payments)
        bookings.add(payment["booking_id"], refunded=10)
        await refund(booking_payments, payment["payment_id"], amount=10)
        await refund(booking_payments, payment["payment_id"], amount=5)

        assert await mismatches(booking_payments) == []

    async def test_names_bookings_that_could_not_be_asked(
        self, booking_payments: RunningService, bookings: Bookings
    ) -> None:
        await charge_booking(booking_payments)
        bookings.down = True

        report = (await booking_payments.as_user("payments:read").get("/ledger/reconcile")).json()

        assert (report["matches"], report["skipped"], report["mismatches"]) == (False, ["bookings"], [])

    async def test_a_payment_of_an_order_is_unknown_in_a_system_without_orders(
        self, booking_payments: RunningService, bookings: Bookings
    ) -> None:
        order_id = OrderId.new()
        body = charge_body(order_id=order_id)
        payment = (await booking_payments.as_service("orders").post("/payments", json=body)).json()

        report = (await booking_payments.as_user("payments:read").get("/ledger/reconcile")).json()

        (found,) = report["mismatches"]
        assert (found["kind"], found["order_id"], found["payment_id"]) == (
            "order_unknown",
            order_id,
            PaymentId(payment["payment_id"]),
        )
