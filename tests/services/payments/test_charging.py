import asyncio
from typing import Any

import pytest
from tests.services.payments.support import (
    charge,
    charge_body,
    ledger_balances,
    provider,
    provider_charges,
    published_types,
    read,
    void,
)
from tests.support.commits import Commits

from portico.contracts.payments import PaymentFailed, PaymentProcessed
from portico.services.payments.provider import ChargeRequest, PaymentProvider, ProviderCharge
from portico.services.payments.simulated_provider.provider import SimulatedProvider
from portico.testing.running_service import RunningService


class TestCharge:
    async def test_charges_and_publishes_the_payment(self, payments: RunningService) -> None:
        request = charge_body(amount=19.99)

        response = await payments.as_service("orders").post("/payments", json=request)

        payment = response.json()
        assert response.status_code == 201
        assert response.headers["location"] == f"/payments/{payment['payment_id']}"
        assert payment == {
            "payment_id": payment["payment_id"],
            "order_id": request["order_id"],
            "user_id": request["user_id"],
            "status": "succeeded",
            "amount": 19.99,
            "refunded": 0.0,
            "currency": "USD",
            "method": "pm_ok",
            "failure_reason": None,
            "created_at": "2026-01-05T09:00:00Z",
            "updated_at": "2026-01-05T09:00:00Z",
        }
        assert await ledger_balances(payments) == {"provider": 1999, "orders": -1999}
        (event,) = await payments.published()
        assert isinstance(event, PaymentProcessed)
        assert event.model_dump() == {
            "payment_id": payment["payment_id"],
            "order_id": request["order_id"],
            "user_id": request["user_id"],
            "amount_minor": 1999,
            "currency": "USD",
        }

    @pytest.mark.parametrize(
        ("method", "reason"),
        [
            ("pm_declined", "card_declined"),
            ("pm_insufficient_funds", "insufficient_funds"),
            ("pm_nobody_knows", "unknown_payment_method"),
        ],
    )
    async def test_refused_charge_fails_with_the_providers_reason(
        self, embedded: RunningService, method: str, reason: str
    ) -> None:
        payment = await charge(embedded, method=method)

        assert (payment["status"], payment["failure_reason"]) == ("failed", reason)
        assert await ledger_balances(embedded) == {}
        (event,) = await embedded.published()
        assert isinstance(event, PaymentFailed)
        assert event.reason == reason

    async def test_key_can_be_sent_as_a_header(self, embedded: RunningService) -> None:
        request = charge_body()
        key = request.pop("key")
        orders = embedded.as_service("orders")

        first = await orders.post("/payments", json=request, headers={"Idempotency-Key": key})
        again = await orders.post("/payments", json={**request, "key": key})

        assert first.json() == again.json()

    async def test_currency_without_decimals(self, embedded: RunningService) -> None:
        assert (await charge(embedded, amount=500, currency="JPY"))["amount"] == 500
        assert await ledger_balances(embedded) == {"provider": 500, "orders": -500}


class TestRepeatedKey:
    async def test_returns_the_same_payment(self, payments: RunningService) -> None:
        request = charge_body()

        responses = [await payments.as_service("orders").post("/payments", json=request) for _ in range(3)]

        assert len({response.content for response in responses}) == 1
        assert await provider_charges(payments) == [("succeeded", 2500, 0)]

    async def test_charges_once_for_concurrent_requests(self, payments: RunningService) -> None:
        request = charge_body()
        orders = payments.as_service("orders")

        responses = await asyncio.gather(*(orders.post("/payments", json=request) for _ in range(16)))

        assert {response.status_code for response in responses} == {201}
        assert len({response.json()["payment_id"] for response in responses}) == 1
        assert {response.json()["status"] for response in responses} <= {"processing", "succeeded"}
        assert (await read(payments, responses[0].json()["payment_id"]))["status"] == "succeeded"
        assert await provider_charges(payments) == [("succeeded", 2500, 0)]
        assert await ledger_balances(payments) == {"provider": 2500, "orders": -2500}
        assert await published_types(payments) == ["payment.processed"]

    @pytest.mark.parametrize(
        "changes", [{"amount": 26}, {"currency": "EUR"}, {"method": "pm_slow"}, {"order_id": "ord_" + "0" * 26}]
    )
    async def test_with_another_request_is_rejected(self, embedded: RunningService, changes: dict[str, Any]) -> None:
        request = charge_body()
        await charge(embedded, **request)

        response = await embedded.as_service("orders").post("/payments", json={**request, **changes})

        assert (response.status_code, response.json()["code"]) == (422, "payment_key_reused")

    async def test_of_a_failed_charge_does_not_charge_again(self, embedded: RunningService) -> None:
        request = charge_body(method="pm_declined")

        assert await charge(embedded, **request) == await charge(embedded, **request)
        assert await provider_charges(embedded) == [("failed", 2500, 0)]


class TestRejections:
    @pytest.mark.parametrize(
        "changes",
        [
            {"amount": 0},
            {"amount": -1},
            {"amount": 10**13},
            {"amount": "25"},
            {"amount": 1.001},
            {"currency": "XXX"},
            {"currency": "usd"},
            {"order_id": "ord_1"},
            {"user_id": None},
            {"method": ""},
            {"method": "pm ok"},
            {"key": ""},
            {"key": "with space"},
            {"key": "k" * 201},
            {"tip": 5},
        ],
    )
    async def test_invalid_request_is_rejected(self, embedded: RunningService, changes: dict[str, Any]) -> None:
        response = await embedded.as_service("orders").post("/payments", json=charge_body(**changes))

        assert response.status_code == 422
        assert await provider_charges(embedded) == []

    async def test_missing_key_is_rejected(self, embedded: RunningService) -> None:
        request = charge_body()
        del request["key"]

        response = await embedded.as_service("orders").post("/payments", json=request)

        assert (response.status_code, response.json()["code"]) == (422, "payment_key_missing")

    async def test_charge_is_for_services_only(self, embedded: RunningService) -> None:
        response = await embedded.as_user("*").post("/payments", json=charge_body())

        assert (response.status_code, response.json()["code"]) == (403, "services_only")
        assert (await embedded.anonymous.post("/payments", json=charge_body())).status_code == 401


class TestBatch:
    async def test_each_charge_has_its_own_key_and_outcome(self, payments: RunningService) -> None:
        bodies = [charge_body(), charge_body(method="pm_declined"), charge_body(amount=-1), charge_body()]
        items = [{"method": "POST", "path": "/payments", "key": each["key"], "body": each} for each in bodies]

        first = await payments.as_service("orders").post("/payments/batch", json=items)
        again = await payments.as_service("orders").post("/payments/batch", json=items)

        found = first.json()
        assert [each["status"] for each in found] == [201, 201, 422, 201]
        assert [each["body"]["status"] for each in found if each["status"] == 201] == [
            "succeeded",
            "failed",
            "succeeded",
        ]
        assert [each["body"]["payment_id"] for each in again.json() if each["status"] == 201] == [
            each["body"]["payment_id"] for each in found if each["status"] == 201
        ]
        assert await ledger_balances(payments) == {"provider": 5000, "orders": -5000}

    async def test_only_services_may_charge(self, payments: RunningService) -> None:
        items = [{"method": "POST", "path": "/payments", "body": charge_body()}] * 2

        answer = await payments.as_user("payments:read").post("/payments/batch", json=items)

        assert answer.status_code == 403


class TestSimultaneousCharges:
    async def test_are_written_in_few_transactions(self, payments: RunningService) -> None:
        started, recorded = Commits(payments.context, "payments"), Commits(payments.context, "ledger_transactions")
        at_provider = Commits(payments.context, "simulated_charges")

        charged = await asyncio.gather(*(charge(payments, amount=10) for _ in range(40)))

        assert {each["status"] for each in charged} == {"succeeded"}
        assert max(started.count, recorded.count, at_provider.count) < 20
        assert await ledger_balances(payments) == {"provider": 40_000, "orders": -40_000}
        assert len(await published_types(payments)) == 40

    async def test_have_an_outcome_each(self, payments: RunningService) -> None:
        methods = ["pm_ok", "pm_declined", "pm_ok", "pm_slow", "pm_gold", "pm_ok"]

        charged = await asyncio.gather(*(charge(payments, method=method) for method in methods))

        statuses = ["succeeded", "failed", "succeeded", "processing", "failed", "succeeded"]
        assert [each["status"] for each in charged] == statuses

    async def test_with_one_key_charge_once(self, payments: RunningService) -> None:
        request, other = charge_body(key="k", amount=5), charge_body(key="other", amount=7)
        orders = payments.as_service("orders")

        answers = await asyncio.gather(*(orders.post("/payments", json=each) for each in [request] * 10 + [other]))

        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.json()["payment_id"] for answer in answers}) == 2
        assert await ledger_balances(payments) == {"provider": 1200, "orders": -1200}

    async def test_with_a_used_key_concern_themselves(self, payments: RunningService) -> None:
        orders, used = payments.as_service("orders"), charge_body(key="k", amount=5)
        await orders.post("/payments", json=used)
        voided = charge_body(key="voided")
        await void(payments, "voided")
        requests = [charge_body(), {**used, "amount": 6}, charge_body(), voided]

        answers = await asyncio.gather(*(orders.post("/payments", json=each) for each in requests))

        assert [answer.status_code for answer in answers] == [201, 422, 201, 409]
        assert (answers[1].json()["code"], answers[3].json()["code"]) == ("payment_key_reused", "voided")

    async def test_of_a_slow_card_do_not_delay_others(self, embedded: RunningService) -> None:
        slow = SlowCard(provider(embedded))
        embedded.context.resources[PaymentProvider] = slow
        waiting = asyncio.create_task(charge(embedded, method="pm_slow"))
        await asyncio.wait_for(slow.reached.wait(), 60)

        others = await asyncio.gather(*(charge(embedded) for _ in range(10)))
        slow.open.set()

        assert {each["status"] for each in others} == {"succeeded"}
        assert (await waiting)["status"] == "processing"


class SlowCard(SimulatedProvider):
    """A provider that answers charges of `pm_slow` when the test opens it."""

    def __init__(self, within: SimulatedProvider) -> None:
        super().__init__(within._context)
        self.reached, self.open = asyncio.Event(), asyncio.Event()

    async def charge(self, request: ChargeRequest) -> ProviderCharge:
        if request.method == "pm_slow":
            self.reached.set()
            await asyncio.wait_for(self.open.wait(), 60)
        return await super().charge(request)
