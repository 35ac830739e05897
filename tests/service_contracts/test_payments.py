from collections.abc import AsyncIterator
from decimal import Decimal

import pytest
from tests.services.payments.support import provider_charges

from portico.contracts.bookings import BookingId
from portico.contracts.orders import OrderId
from portico.contracts.payments import PaymentId, PaymentsClient, PaymentSummary
from portico.kit.auth import UserId
from portico.kit.calls.client import Calls
from portico.kit.calls.errors import Refused
from portico.kit.foundation.money import Money
from portico.services.payments import service
from portico.testing.databases import Databases
from portico.testing.running_service import RunningService, run_service

USD25 = Money(2500, "USD")


@pytest.fixture
async def payments(sqlite_databases: Databases) -> AsyncIterator[RunningService]:
    async with run_service(service, sqlite_databases, background=False) as payments:
        yield payments


@pytest.fixture
def client(payments: RunningService) -> PaymentsClient:
    """Return the client as used by a saga step."""
    return Calls(payments.channel, identity=payments.issuer.token("service:orders"), key="saga_1/pay")(PaymentsClient)


async def charge(client: PaymentsClient, method: str = "pm_ok", key: str = "saga_1/pay/do") -> PaymentSummary:
    order_id, user_id = OrderId("ord_" + "0" * 26), UserId("user_" + "0" * 26)
    return await client.charge(key=key, order_id=order_id, user_id=user_id, amount=USD25, method=method)


class TestPaymentsClient:
    async def test_charges_once_per_key(self, payments: RunningService, client: PaymentsClient) -> None:
        first, again = [await charge(client) for _ in range(2)]

        assert first == again
        assert (first.status, first.amount, first.refunded) == ("succeeded", Decimal("25.0"), 0)
        assert await client.payment(first.payment_id) == first
        assert first.order_id is not None
        assert await client.of_order(first.order_id) == [first]
        assert await provider_charges(payments) == [("succeeded", 2500, 0)]

    async def test_charges_for_a_booking(self, client: PaymentsClient) -> None:
        booking_id, user_id = BookingId.new(), UserId.new()

        payment = await client.charge(
            key="saga_1/pay", booking_id=booking_id, user_id=user_id, amount=USD25, method="pm_ok"
        )

        assert (payment.booking_id, payment.order_id) == (booking_id, None)
        assert await client.of_booking(booking_id) == [payment]

    async def test_distinguishes_failed_and_processing_charges(self, client: PaymentsClient) -> None:
        declined = await charge(client, "pm_declined", "one")
        slow = await charge(client, "pm_slow", "other")

        assert (declined.status, declined.failure_reason) == ("failed", "card_declined")
        assert (slow.status, slow.failure_reason) == ("processing", None)

    async def test_void_refunds_a_charge(self, payments: RunningService, client: PaymentsClient) -> None:
        payment = await charge(client)

        voided = await client.void("saga_1/pay/do")

        assert (voided.status, voided.payment_id, voided.refunded) == ("voided", payment.payment_id, 25)
        assert await provider_charges(payments) == [("succeeded", 2500, 2500)]

    @pytest.mark.parametrize("key", ["saga_1/pay/do", "a:b~c.d-e_f", "x//y"])
    async def test_void_rejects_a_later_charge(self, client: PaymentsClient, key: str) -> None:
        voided = await client.void(key)
        with pytest.raises(Refused) as refused:
            await charge(client, key=key)

        assert (voided.key, voided.payment_id) == (key, None)
        assert (refused.value.status, refused.value.code) == (409, "voided")

    async def test_void_of_a_charge_in_flight_is_rejected_with_retry_after(self, client: PaymentsClient) -> None:
        await charge(client, "pm_slow")

        with pytest.raises(Refused) as refused:
            await client.void("saga_1/pay/do")

        assert (refused.value.status, refused.value.code) == (409, "charge_in_flight")
        assert refused.value.retry_after == 1

    async def test_refunds_in_parts(self, payments: RunningService, client: PaymentsClient) -> None:
        payment = await charge(client)

        part = await client.refund(payment.payment_id, key="r1", amount=Money(500, "USD"))
        again = await client.refund(payment.payment_id, key="r1", amount=Money(500, "USD"))
        rest = await client.refund(payment.payment_id, key="r2")

        assert part == again
        assert (part.amount, rest.amount, rest.status) == (5, 20, "succeeded")
        with pytest.raises(Refused) as refused:
            await client.refund(payment.payment_id, key="r3", amount=Money(1, "USD"))
        assert refused.value.code == "refund_exceeds_charge"

    async def test_unknown_payment_is_404(self, client: PaymentsClient) -> None:
        with pytest.raises(Refused) as refused:
            await client.payment(PaymentId.new())

        assert refused.value.status == 404
