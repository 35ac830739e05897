import asyncio

import pytest
from tests.services.payments.support import (
    ATTEMPT_LIMIT,
    PendingRefunds,
    charge,
    charge_body,
    ledger_balances,
    provider,
    provider_charges,
    published_types,
    read,
    refund,
    refunds,
    void,
)

from portico.contracts.payments import PaymentId
from portico.kit.auth import UserId
from portico.kit.foundation.money import Money
from portico.services.payments.charges import PaymentStart, start_payments
from portico.services.payments.domain import PaymentRequest
from portico.services.payments.jobs import settle_open_payments
from portico.services.payments.provider import (
    ChargeRequest,
    PaymentProvider,
    ProviderCharge,
    ProviderRefund,
    ProviderRefused,
)
from portico.services.payments.simulated_provider.jobs import run_simulated_provider
from portico.services.payments.simulated_provider.provider import SimulatedProvider
from portico.testing.running_service import RunningService


class Gate(SimulatedProvider):
    """A provider whose charges wait until the test opens the gate."""

    def __init__(self, within: SimulatedProvider) -> None:
        super().__init__(within._context)
        self.reached, self.open = asyncio.Event(), asyncio.Event()

    async def charge(self, request: ChargeRequest) -> ProviderCharge:
        self.reached.set()
        await asyncio.wait_for(self.open.wait(), 60)
        return await super().charge(request)


async def start_charge(payments: RunningService, key: str) -> PaymentId:
    """Record the intent of a charge, as if the process had crashed before it called the provider."""
    request, payment_id = charge_body(key=key), PaymentId.new()
    order = PaymentRequest(request["order_id"], UserId(request["user_id"]), Money(2500, "USD"), "pm_ok")
    async with payments.context.transaction() as work:
        await start_payments(work, [PaymentStart(key, payment_id, order, attempt_limit=15)])
    return payment_id


class TestVoidBeforeTheCharge:
    async def test_rejects_a_later_charge(self, payments: RunningService) -> None:
        request = charge_body()

        voided = await void(payments, request["key"])
        late = await payments.as_service("orders").post("/payments", json=request)

        assert voided.status_code == 200
        assert voided.json() == {
            "key": request["key"],
            "status": "voided",
            "payment_id": None,
            "refunded": None,
            "currency": None,
        }
        assert (late.status_code, late.json()["code"], late.json()["key"]) == (409, "voided", request["key"])
        assert await provider_charges(payments) == []
        assert await ledger_balances(payments) == {}

    async def test_is_idempotent(self, payments: RunningService) -> None:
        responses = await asyncio.gather(*(void(payments, "ord_1/charge") for _ in range(8)))

        assert {response.status_code for response in responses} == {200}


class TestVoidAfterTheCharge:
    async def test_refunds_the_charge(self, payments: RunningService) -> None:
        request = charge_body()
        payment = await charge(payments, **request)

        voided = await void(payments, request["key"])

        assert voided.json()["payment_id"] == payment["payment_id"]
        assert voided.json()["refunded"] == 25
        assert (await read(payments, payment["payment_id"]))["status"] == "voided"
        assert await provider_charges(payments) == [("succeeded", 2500, 2500)]
        assert await ledger_balances(payments) == {"provider": 0, "orders": -2500, "refunds": 2500}
        assert await published_types(payments) == ["payment.processed", "payment.refunded"]

    async def test_refunds_the_remainder(self, payments: RunningService) -> None:
        request = charge_body()
        payment = await charge(payments, **request)
        await refund(payments, payment["payment_id"], amount=10)

        await void(payments, request["key"])

        assert (await read(payments, payment["payment_id"]))["refunded"] == 25
        assert await provider_charges(payments) == [("succeeded", 2500, 2500)]

    async def test_refunds_once_for_concurrent_voids(self, payments: RunningService) -> None:
        request = charge_body()
        await charge(payments, **request)

        responses = await asyncio.gather(*(void(payments, request["key"]) for _ in range(8)))

        assert {response.status_code for response in responses} == {200}
        assert await provider_charges(payments) == [("succeeded", 2500, 2500)]
        assert await published_types(payments) == ["payment.processed", "payment.refunded"]

    async def test_refunds_nothing_of_a_failed_charge(self, payments: RunningService) -> None:
        request = charge_body(method="pm_declined")
        payment = await charge(payments, **request)

        voided = await void(payments, request["key"])

        assert (voided.status_code, voided.json()["refunded"]) == (200, 0)
        assert (await read(payments, payment["payment_id"]))["status"] == "failed"

    async def test_rejects_a_repeated_charge(self, payments: RunningService) -> None:
        request = charge_body()
        await charge(payments, **request)
        await void(payments, request["key"])

        response = await payments.as_service("orders").post("/payments", json=request)

        assert (response.status_code, response.json()["code"]) == (409, "voided")

    async def test_reports_a_refused_refund_until_a_later_one_succeeds(self, embedded: RunningService) -> None:
        request = charge_body()
        await charge(embedded, **request)
        working = provider(embedded)

        embedded.context.resources[PaymentProvider] = RefusesRefunds(working)
        refused = await void(embedded, request["key"])
        embedded.context.resources[PaymentProvider] = working
        embedded.clock.advance(int(refused.headers["retry-after"]))
        later = await void(embedded, request["key"])

        assert (refused.status_code, refused.json()["code"]) == (409, "void_unfinished")
        assert refused.json()["reason"] == "account_closed"
        assert (later.status_code, later.json()["refunded"]) == (200, 25)


class RefusesRefunds(SimulatedProvider):
    """A provider that refuses every refund."""

    def __init__(self, within: SimulatedProvider) -> None:
        super().__init__(within._context)
        self.requests = 0

    async def refund(self, key: str, charge_id: str, amount: Money) -> ProviderRefund:
        self.requests += 1
        raise ProviderRefused("account_closed")


class TestFailedRefundOfAVoidedPayment:
    async def test_is_replaced_until_one_succeeds(self, payments: RunningService) -> None:
        request = charge_body()
        payment = await charge(payments, **request)
        working = provider(payments)
        payments.context.resources[PaymentProvider] = RefusesRefunds(working)
        await void(payments, request["key"])
        payments.clock.advance(60)
        await settle_open_payments.function(payments.context)
        payments.context.resources[PaymentProvider] = working

        payments.clock.advance(119)
        await settle_open_payments.function(payments.context)
        too_early = await read(payments, payment["payment_id"])
        payments.clock.advance(1)
        await settle_open_payments.function(payments.context)

        assert too_early["refunded"] == 0
        assert (await read(payments, payment["payment_id"]))["refunded"] == 25
        assert await ledger_balances(payments) == {"provider": 0, "orders": -2500, "refunds": 2500}

    async def test_is_replaced_with_growing_delays_however_often_the_void_is_repeated(
        self, embedded: RunningService
    ) -> None:
        request = charge_body()
        payment = await charge(embedded, **request)
        refusing = embedded.context.resources[PaymentProvider] = RefusesRefunds(provider(embedded))

        for _ in range(6 * 60):
            response = await void(embedded, request["key"])
            await settle_open_payments.function(embedded.context)
            embedded.clock.advance(60)

        assert (response.status_code, response.json()["reason"]) == (409, "account_closed")
        assert refusing.requests == len(await refunds(embedded, payment["payment_id"])) == 9

    async def test_started_by_staff_is_replaced_too(self, embedded: RunningService) -> None:
        request = charge_body()
        payment = await charge(embedded, **request)
        working = provider(embedded)
        embedded.context.resources[PaymentProvider] = PendingRefunds(embedded.context)
        await refund(embedded, payment["payment_id"], amount=10)
        embedded.context.resources[PaymentProvider] = RefusesRefunds(working)
        await void(embedded, request["key"])
        embedded.context.resources[PaymentProvider] = working

        embedded.clock.advance(120)
        await settle_open_payments.function(embedded.context)

        assert (await read(embedded, payment["payment_id"]))["refunded"] == 25
        assert await provider_charges(embedded) == [("succeeded", 2500, 2500)]


class TestVoidOfAChargeInFlight:
    """The provider is asked for the outcome of the charge before it is refunded."""

    @pytest.mark.parametrize("method", ["pm_slow", "pm_timeout_then_charged", "pm_error_then_ok"])
    async def test_keeps_no_money_under_any_fault(self, payments: RunningService, method: str) -> None:
        request = charge_body(method=method)
        payment = await charge(payments, **request)

        first = await void(payments, request["key"])
        payments.clock.advance(2)
        await run_simulated_provider.function(payments.context)
        await settle_open_payments.function(payments.context)
        last = await void(payments, request["key"])

        assert first.status_code == (200 if method == "pm_timeout_then_charged" else 409)
        if first.status_code == 409:
            assert (first.json()["code"], first.headers["retry-after"]) == ("charge_in_flight", "1")
        assert last.status_code == 200
        assert (await read(payments, payment["payment_id"]))["status"] == "voided"
        kept = [(amount - back) for status, amount, back in await provider_charges(payments) if status == "succeeded"]
        assert sum(kept) == 0
        assert sum(minor for account, minor in (await ledger_balances(payments)).items() if account == "provider") == 0

    async def test_is_rejected_until_the_attempt_ends(self, payments: RunningService) -> None:
        request = charge_body()
        gate = Gate(provider(payments))
        payments.context.resources[PaymentProvider] = gate
        charging = asyncio.create_task(payments.as_service("orders").post("/payments", json=request))
        await asyncio.wait_for(gate.reached.wait(), 60)

        meanwhile = await void(payments, request["key"])
        gate.open.set()
        charged = await charging
        afterwards = await void(payments, request["key"])

        assert meanwhile.json()["code"] == "charge_in_flight"
        assert charged.json()["status"] == "voided"
        assert (afterwards.status_code, afterwards.json()["refunded"]) == (200, 25)
        assert await provider_charges(payments) == [("succeeded", 2500, 2500)]
        assert await published_types(payments) == ["payment.processed", "payment.refunded"]

    async def test_closes_a_payment_that_the_provider_never_received(self, payments: RunningService) -> None:
        payment_id = await start_charge(payments, "ord_1/charge")

        too_early = await void(payments, "ord_1/charge")
        payments.clock.advance(ATTEMPT_LIMIT)
        voided = await void(payments, "ord_1/charge")

        assert too_early.json()["code"] == "charge_in_flight"
        assert voided.status_code == 200
        assert (await read(payments, payment_id))["status"] == "voided"
        assert await provider_charges(payments) == []
        assert await published_types(payments) == []

    async def test_does_not_wait_for_a_clock_that_was_set_back(self, payments: RunningService) -> None:
        payment_id = await start_charge(payments, "ord_1/charge")
        payments.clock.set_back(3600)
        await settle_open_payments.function(payments.context)

        payments.clock.advance(ATTEMPT_LIMIT)
        await settle_open_payments.function(payments.context)

        assert (await read(payments, payment_id))["status"] == "succeeded"

    async def test_refunds_a_charge_that_arrives_after_the_payment_was_closed(self, payments: RunningService) -> None:
        payment_id = await start_charge(payments, "ord_1/charge")
        payments.clock.advance(ATTEMPT_LIMIT)
        await void(payments, "ord_1/charge")
        await provider(payments).charge(ChargeRequest(payment_id, Money(2500, "USD"), "pm_ok", "ord_1"))

        payments.clock.advance(15 * 60)
        await settle_open_payments.function(payments.context)

        assert await provider_charges(payments) == [("succeeded", 2500, 2500)]
        assert await ledger_balances(payments) == {"provider": 0, "orders": -2500, "refunds": 2500}

    async def test_checks_a_closed_payment_only_once_more(self, embedded: RunningService) -> None:
        payment_id = await start_charge(embedded, "ord_1/charge")
        embedded.clock.advance(ATTEMPT_LIMIT)
        await void(embedded, "ord_1/charge")

        embedded.clock.advance(15 * 60)
        await settle_open_payments.function(embedded.context)
        await provider(embedded).charge(ChargeRequest(payment_id, Money(2500, "USD"), "pm_ok", "ord_1"))
        embedded.clock.advance(15 * 60)
        await settle_open_payments.function(embedded.context)

        assert await provider_charges(embedded) == [("succeeded", 2500, 0)]


class TestConcurrentChargeAndVoid:
    async def test_keep_no_money_in_either_order(self, payments: RunningService) -> None:
        bodies = [charge_body() for _ in range(12)]
        orders = payments.as_service("orders")

        async def both(turn: int) -> None:
            charging, voiding = orders.post("/payments", json=bodies[turn]), void(payments, bodies[turn]["key"])
            await asyncio.gather(*((charging, voiding) if turn % 2 else (voiding, charging)))

        await asyncio.gather(*(both(turn) for turn in range(len(bodies))))
        payments.clock.advance(ATTEMPT_LIMIT)
        await settle_open_payments.function(payments.context)
        responses = await asyncio.gather(*(void(payments, each["key"]) for each in bodies))

        assert {response.status_code for response in responses} == {200}
        assert all(amount == back for _, amount, back in await provider_charges(payments))
        assert (await ledger_balances(payments)).get("provider", 0) == 0


class TestRejections:
    async def test_void_is_for_services_only(self, embedded: RunningService) -> None:
        assert (await embedded.as_user("*").put("/payments/voids/key")).json()["code"] == "services_only"
        assert (await embedded.anonymous.put("/payments/voids/key")).status_code == 401

    @pytest.mark.parametrize("key", ["a%20b", "k" * 201, "%0A", "%C3%A9"])
    async def test_a_key_that_cannot_exist_is_not_found(self, embedded: RunningService, key: str) -> None:
        assert (await void(embedded, key)).status_code == 404
