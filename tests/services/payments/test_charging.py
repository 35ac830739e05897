import asyncio
from typing import Any

import pytest
from tests.services.payments.support import at_provider, balance, charge, draft, events, read

from portico.contracts.payments import PaymentFailed, PaymentProcessed
from portico.testing.running_service import RunningService


class TestCharge:
    async def test_a_good_method_is_charged(self, payments: RunningService) -> None:
        asked = draft(amount=19.99)

        answer = await payments.as_service("orders").post("/payments", json=asked)

        made = answer.json()
        assert answer.status_code == 201
        assert answer.headers["location"] == f"/payments/{made['payment_id']}"
        assert made == {
            "payment_id": made["payment_id"],
            "order_id": asked["order_id"],
            "user_id": asked["user_id"],
            "status": "succeeded",
            "amount": 19.99,
            "refunded": 0.0,
            "currency": "USD",
            "method": "pm_ok",
            "failure_reason": None,
            "created_at": "2026-01-05T09:00:00Z",
            "updated_at": "2026-01-05T09:00:00Z",
        }
        assert await balance(payments) == {"provider": 1999, "orders": -1999}
        (told,) = await payments.published()
        assert isinstance(told, PaymentProcessed)
        assert told.model_dump() == {
            "payment_id": made["payment_id"],
            "order_id": asked["order_id"],
            "user_id": asked["user_id"],
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
    async def test_a_bad_one_fails_with_the_providers_reason(
        self, embedded: RunningService, method: str, reason: str
    ) -> None:
        made = await charge(embedded, method=method)

        assert (made["status"], made["failure_reason"]) == ("failed", reason)
        assert await balance(embedded) == {}
        (told,) = await embedded.published()
        assert isinstance(told, PaymentFailed)
        assert told.reason == reason

    async def test_the_key_may_come_as_a_header(self, embedded: RunningService) -> None:
        asked = draft()
        key = asked.pop("key")
        orders = embedded.as_service("orders")

        first = await orders.post("/payments", json=asked, headers={"Idempotency-Key": key})
        again = await orders.post("/payments", json={**asked, "key": key})

        assert first.json() == again.json()

    async def test_yen_have_no_decimals(self, embedded: RunningService) -> None:
        assert (await charge(embedded, amount=500, currency="JPY"))["amount"] == 500
        assert await balance(embedded) == {"provider": 500, "orders": -500}


class TestTheSameKey:
    async def test_is_the_same_payment(self, payments: RunningService) -> None:
        asked = draft()

        answers = [await payments.as_service("orders").post("/payments", json=asked) for _ in range(3)]

        assert len({answer.content for answer in answers}) == 1
        assert await at_provider(payments) == [("succeeded", 2500, 0)]

    async def test_charges_once_however_many_ask_at_once(self, payments: RunningService) -> None:
        asked = draft()
        orders = payments.as_service("orders")

        answers = await asyncio.gather(*(orders.post("/payments", json=asked) for _ in range(16)))

        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.json()["payment_id"] for answer in answers}) == 1
        assert {answer.json()["status"] for answer in answers} <= {"processing", "succeeded"}
        assert (await read(payments, answers[0].json()["payment_id"]))["status"] == "succeeded"
        assert await at_provider(payments) == [("succeeded", 2500, 0)]
        assert await balance(payments) == {"provider": 2500, "orders": -2500}
        assert await events(payments) == ["payment.processed"]

    @pytest.mark.parametrize(
        "changes", [{"amount": 26}, {"currency": "EUR"}, {"method": "pm_slow"}, {"order_id": "ord_" + "0" * 26}]
    )
    async def test_for_another_charge_is_refused(self, embedded: RunningService, changes: dict[str, Any]) -> None:
        asked = draft()
        await charge(embedded, **asked)

        answer = await embedded.as_service("orders").post("/payments", json={**asked, **changes})

        assert (answer.status_code, answer.json()["code"]) == (422, "payment_key_reused")

    async def test_of_a_failed_charge_charges_nothing(self, embedded: RunningService) -> None:
        asked = draft(method="pm_declined")

        assert await charge(embedded, **asked) == await charge(embedded, **asked)
        assert await at_provider(embedded) == [("failed", 2500, 0)]


class TestRefusals:
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
    async def test_what_makes_no_sense_is_invalid(self, embedded: RunningService, changes: dict[str, Any]) -> None:
        answer = await embedded.as_service("orders").post("/payments", json=draft(**changes))

        assert answer.status_code == 422
        assert await at_provider(embedded) == []

    async def test_without_a_key_nothing_is_charged(self, embedded: RunningService) -> None:
        asked = draft()
        del asked["key"]

        answer = await embedded.as_service("orders").post("/payments", json=asked)

        assert (answer.status_code, answer.json()["code"]) == (422, "payment_key_missing")

    async def test_users_charge_nobody(self, embedded: RunningService) -> None:
        answer = await embedded.as_user("*").post("/payments", json=draft())

        assert (answer.status_code, answer.json()["code"]) == (403, "services_only")
        assert (await embedded.anonymous.post("/payments", json=draft())).status_code == 401
