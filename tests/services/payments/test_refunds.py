import asyncio
from typing import Any

import pytest
from tests.services.payments.support import at_provider, balance, charge, events, provider, read, refund

from portico.contracts.payments import PaymentId, PaymentRefunded
from portico.kit.foundation.money import Money
from portico.services.payments.jobs import settle_open_payments
from portico.services.payments.provider import (
    PaymentProvider,
    ProviderRefund,
    ProviderRefused,
    ProviderUnavailable,
)
from portico.services.payments.simulated_provider.provider import SimulatedProvider
from portico.testing.running_service import RunningService


class Unsure(SimulatedProvider):
    """A provider that gives back, and whose answer is lost."""

    async def refund(self, key: str, charge_id: str, amount: Money) -> ProviderRefund:
        await super().refund(key, charge_id, amount)
        raise ProviderUnavailable


class TestRefund:
    async def test_gives_back_all_that_is_left(self, payments: RunningService) -> None:
        made = await charge(payments)

        answer = await refund(payments, made["payment_id"], reason="It was broken")

        assert answer.status_code == 201
        given = answer.json()
        assert (given["status"], given["amount"], given["reason"]) == ("succeeded", 25, "It was broken")
        assert given["requested_by"] == "service:orders"
        assert (await read(payments, made["payment_id"]))["refunded"] == 25
        assert await balance(payments) == {"provider": 0, "orders": -2500, "refunds": 2500}
        told = (await payments.published())[-1]
        assert isinstance(told, PaymentRefunded)
        assert (told.refund_id, told.amount_minor, told.refunded_minor) == (given["refund_id"], 2500, 2500)

    async def test_parts_add_up_to_the_charge(self, payments: RunningService) -> None:
        made = await charge(payments, amount=10)

        answers = [await refund(payments, made["payment_id"], amount=amount) for amount in (4, 5.5, 0.51, 0.5, 0.01)]

        assert [answer.status_code for answer in answers] == [201, 201, 409, 201, 409]
        assert answers[2].json()["code"] == "refund_exceeds_charge"
        assert (answers[2].json()["left"], answers[2].json()["currency"]) == (0.5, "USD")
        assert "0.5 USD" in answers[2].json()["detail"]
        assert answers[4].json()["left"] == 0
        assert await at_provider(payments) == [("succeeded", 1000, 1000)]

    async def test_many_at_once_never_give_back_more_than_was_charged(self, payments: RunningService) -> None:
        made = await charge(payments, amount=10)

        answers = await asyncio.gather(*(refund(payments, made["payment_id"], amount=3) for _ in range(10)))

        assert sorted(answer.status_code for answer in answers) == [201] * 3 + [409] * 7
        assert await at_provider(payments) == [("succeeded", 1000, 900)]
        assert await balance(payments) == {"provider": 100, "orders": -1000, "refunds": 900}
        assert (await events(payments)).count("payment.refunded") == 3

    async def test_the_same_key_gives_back_once(self, payments: RunningService) -> None:
        made = await charge(payments)

        answers = await asyncio.gather(*(refund(payments, made["payment_id"], amount=5, key="r1") for _ in range(8)))
        other = await refund(payments, made["payment_id"], amount=6, key="r1")
        by_header = await payments.as_service("orders").post(
            f"/payments/{made['payment_id']}/refunds", json={"amount": 5}, headers={"Idempotency-Key": "r1"}
        )

        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.json()["refund_id"] for answer in answers}) == 1
        assert (other.status_code, other.json()["code"]) == (422, "refund_key_reused")
        assert by_header.json()["refund_id"] == answers[0].json()["refund_id"]
        assert await at_provider(payments) == [("succeeded", 2500, 500)]

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ({"amount": 5}, {}),
            ({}, {"amount": 25}),
            ({"amount": 5}, {"amount": 5, "reason": "It was late"}),
            ({"reason": "It was late"}, {}),
        ],
    )
    async def test_a_key_stands_for_what_was_asked_for_with_it(
        self, embedded: RunningService, first: dict[str, Any], second: dict[str, Any]
    ) -> None:
        made = await charge(embedded)

        given = await refund(embedded, made["payment_id"], key="r1", **first)
        again = await refund(embedded, made["payment_id"], key="r1", **first)
        other = await refund(embedded, made["payment_id"], key="r1", **second)

        assert again.json() == given.json()
        assert (other.status_code, other.json()["code"]) == (422, "refund_key_reused")
        assert other.json()["refund_id"] == given.json()["refund_id"]

    async def test_is_listed_with_its_payment(self, embedded: RunningService) -> None:
        made = await charge(embedded)
        given = [(await refund(embedded, made["payment_id"], amount=amount)).json() for amount in (1, 2)]

        answer = await embedded.as_user("payments:read").get(f"/payments/{made['payment_id']}/refunds")

        assert answer.json() == given[::-1]


class TestWhoMay:
    async def test_staff_with_the_permission(self, embedded: RunningService) -> None:
        made = await charge(embedded)
        path = f"/payments/{made['payment_id']}/refunds"

        assert (await embedded.as_user("payments:read").post(path, json={})).json()["permission"] == "payments:write"
        assert (await embedded.as_user(subject=made["user_id"]).post(path, json={})).status_code == 403
        assert (await embedded.anonymous.post(path, json={})).status_code == 401
        assert (await embedded.as_user("payments:write").post(path, json={})).status_code == 201


class TestRefusals:
    @pytest.mark.parametrize("method", ["pm_declined", "pm_slow"])
    async def test_nothing_is_given_back_of_what_was_not_charged(self, embedded: RunningService, method: str) -> None:
        made = await charge(embedded, method=method)

        answer = await refund(embedded, made["payment_id"])

        assert (answer.status_code, answer.json()["code"]) == (409, "not_refundable")
        assert answer.json()["state"] == made["status"]

    @pytest.mark.parametrize(
        "body",
        [
            {"amount": 0},
            {"amount": -1},
            {"amount": 0.001},
            {"amount": 1, "currency": "EUR"},
            {"currency": "USD"},
            {"amount": 1, "currency": "dollars"},
            {"key": "with space"},
            {"amount": "1"},
            {"sum": 1},
        ],
    )
    async def test_what_makes_no_sense_is_invalid(self, embedded: RunningService, body: dict[str, Any]) -> None:
        made = await charge(embedded)

        assert (await refund(embedded, made["payment_id"], **body)).status_code == 422
        assert await at_provider(embedded) == [("succeeded", 2500, 0)]

    async def test_of_what_there_is_not(self, embedded: RunningService) -> None:
        answer = await refund(embedded, PaymentId.new())

        assert (answer.status_code, answer.json()["code"]) == (404, "payment_not_found")


class TestTheProvider:
    async def test_whose_answer_was_lost_is_asked_again(self, payments: RunningService) -> None:
        made = await charge(payments)
        whole = provider(payments)
        payments.context.provided[PaymentProvider] = Unsure(payments.context)

        answer = await refund(payments, made["payment_id"], amount=20)
        too_much = await refund(payments, made["payment_id"], amount=6)
        payments.context.provided[PaymentProvider] = whole
        payments.clock.advance(1)
        await settle_open_payments.function(payments.context)

        assert answer.json()["status"] == "processing"
        assert too_much.json()["left"] == 5
        assert (await read(payments, made["payment_id"]))["refunded"] == 20
        assert await at_provider(payments) == [("succeeded", 2500, 2000)]
        assert await balance(payments) == {"provider": 500, "orders": -2500, "refunds": 2000}

    async def test_that_refuses_leaves_all_as_it_was(self, embedded: RunningService) -> None:
        class Refuses(SimulatedProvider):
            async def refund(self, key: str, charge_id: str, amount: Money) -> ProviderRefund:
                raise ProviderRefused("account_closed")

        made = await charge(embedded)
        whole = provider(embedded)
        embedded.context.provided[PaymentProvider] = Refuses(embedded.context)
        failed = await refund(embedded, made["payment_id"], amount=20)
        embedded.context.provided[PaymentProvider] = whole
        again = await refund(embedded, made["payment_id"], amount=25)

        assert (failed.json()["status"], failed.json()["failure_reason"]) == ("failed", "account_closed")
        assert again.json()["status"] == "succeeded"
        assert await balance(embedded) == {"provider": 0, "orders": -2500, "refunds": 2500}
