import asyncio
from typing import Any

import pytest
from tests.services.payments.support import (
    charge,
    ledger_balances,
    provider,
    provider_charges,
    published_types,
    read,
    refund,
)

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


class AnswerLost(SimulatedProvider):
    """A provider that refunds but whose answer is lost."""

    async def refund(self, key: str, charge_id: str, amount: Money) -> ProviderRefund:
        await super().refund(key, charge_id, amount)
        raise ProviderUnavailable


class TestRefund:
    async def test_without_amount_refunds_the_remainder(self, payments: RunningService) -> None:
        payment = await charge(payments)

        response = await refund(payments, payment["payment_id"], reason="It was broken")

        assert response.status_code == 201
        refunded = response.json()
        assert (refunded["status"], refunded["amount"], refunded["reason"]) == ("succeeded", 25, "It was broken")
        assert refunded["requested_by"] == "service:orders"
        assert (await read(payments, payment["payment_id"]))["refunded"] == 25
        assert await ledger_balances(payments) == {"provider": 0, "orders": -2500, "refunds": 2500}
        event = (await payments.published())[-1]
        assert isinstance(event, PaymentRefunded)
        assert (event.refund_id, event.amount_minor, event.refunded_minor) == (refunded["refund_id"], 2500, 2500)

    async def test_partial_refunds_add_up_to_at_most_the_charge(self, payments: RunningService) -> None:
        payment = await charge(payments, amount=10)

        responses = [
            await refund(payments, payment["payment_id"], amount=amount) for amount in (4, 5.5, 0.51, 0.5, 0.01)
        ]

        assert [response.status_code for response in responses] == [201, 201, 409, 201, 409]
        assert responses[2].json()["code"] == "refund_exceeds_charge"
        assert (responses[2].json()["left"], responses[2].json()["currency"]) == (0.5, "USD")
        assert "0.5 USD" in responses[2].json()["detail"]
        assert responses[4].json()["left"] == 0
        assert await provider_charges(payments) == [("succeeded", 1000, 1000)]

    async def test_concurrent_refunds_never_exceed_the_charge(self, payments: RunningService) -> None:
        payment = await charge(payments, amount=10)

        responses = await asyncio.gather(*(refund(payments, payment["payment_id"], amount=3) for _ in range(10)))

        assert sorted(response.status_code for response in responses) == [201] * 3 + [409] * 7
        assert await provider_charges(payments) == [("succeeded", 1000, 900)]
        assert await ledger_balances(payments) == {"provider": 100, "orders": -1000, "refunds": 900}
        assert (await published_types(payments)).count("payment.refunded") == 3

    async def test_same_key_refunds_once(self, payments: RunningService) -> None:
        payment = await charge(payments)

        responses = await asyncio.gather(
            *(refund(payments, payment["payment_id"], amount=5, key="r1") for _ in range(8))
        )
        other = await refund(payments, payment["payment_id"], amount=6, key="r1")
        by_header = await payments.as_service("orders").post(
            f"/payments/{payment['payment_id']}/refunds", json={"amount": 5}, headers={"Idempotency-Key": "r1"}
        )

        assert {response.status_code for response in responses} == {201}
        assert len({response.json()["refund_id"] for response in responses}) == 1
        assert (other.status_code, other.json()["code"]) == (422, "refund_key_reused")
        assert by_header.json()["refund_id"] == responses[0].json()["refund_id"]
        assert await provider_charges(payments) == [("succeeded", 2500, 500)]

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ({"amount": 5}, {}),
            ({}, {"amount": 25}),
            ({"amount": 5}, {"amount": 5, "reason": "It was late"}),
            ({"reason": "It was late"}, {}),
        ],
    )
    async def test_key_reused_for_another_request_is_rejected(
        self, embedded: RunningService, first: dict[str, Any], second: dict[str, Any]
    ) -> None:
        payment = await charge(embedded)

        refunded = await refund(embedded, payment["payment_id"], key="r1", **first)
        again = await refund(embedded, payment["payment_id"], key="r1", **first)
        other = await refund(embedded, payment["payment_id"], key="r1", **second)

        assert again.json() == refunded.json()
        assert (other.status_code, other.json()["code"]) == (422, "refund_key_reused")
        assert other.json()["refund_id"] == refunded.json()["refund_id"]

    async def test_refunds_are_listed_newest_first(self, embedded: RunningService) -> None:
        payment = await charge(embedded)
        created = [(await refund(embedded, payment["payment_id"], amount=amount)).json() for amount in (1, 2)]

        response = await embedded.as_user("payments:read").get(f"/payments/{payment['payment_id']}/refunds")

        assert response.json() == created[::-1]


class TestPermissions:
    async def test_refund_needs_payments_write(self, embedded: RunningService) -> None:
        payment = await charge(embedded)
        path = f"/payments/{payment['payment_id']}/refunds"

        assert (await embedded.as_user("payments:read").post(path, json={})).json()["permission"] == "payments:write"
        assert (await embedded.as_user(subject=payment["user_id"]).post(path, json={})).status_code == 403
        assert (await embedded.anonymous.post(path, json={})).status_code == 401
        assert (await embedded.as_user("payments:write").post(path, json={})).status_code == 201


class TestRejections:
    @pytest.mark.parametrize("method", ["pm_declined", "pm_slow"])
    async def test_uncharged_payment_is_not_refundable(self, embedded: RunningService, method: str) -> None:
        payment = await charge(embedded, method=method)

        response = await refund(embedded, payment["payment_id"])

        assert (response.status_code, response.json()["code"]) == (409, "not_refundable")
        assert response.json()["state"] == payment["status"]

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
    async def test_invalid_request_is_rejected(self, embedded: RunningService, body: dict[str, Any]) -> None:
        payment = await charge(embedded)

        assert (await refund(embedded, payment["payment_id"], **body)).status_code == 422
        assert await provider_charges(embedded) == [("succeeded", 2500, 0)]

    async def test_unknown_payment_is_not_found(self, embedded: RunningService) -> None:
        response = await refund(embedded, PaymentId.new())

        assert (response.status_code, response.json()["code"]) == (404, "payment_not_found")


class TestProviderFailures:
    async def test_lost_answer_is_settled_by_the_job(self, payments: RunningService) -> None:
        payment = await charge(payments)
        working = provider(payments)
        payments.context.resources[PaymentProvider] = AnswerLost(payments.context)

        response = await refund(payments, payment["payment_id"], amount=20)
        too_much = await refund(payments, payment["payment_id"], amount=6)
        payments.context.resources[PaymentProvider] = working
        payments.clock.advance(1)
        await settle_open_payments.function(payments.context)

        assert response.json()["status"] == "processing"
        assert too_much.json()["left"] == 5
        assert (await read(payments, payment["payment_id"]))["refunded"] == 20
        assert await provider_charges(payments) == [("succeeded", 2500, 2000)]
        assert await ledger_balances(payments) == {"provider": 500, "orders": -2500, "refunds": 2000}

    async def test_refused_refund_leaves_the_amount_refundable(self, embedded: RunningService) -> None:
        class RefusesRefunds(SimulatedProvider):
            async def refund(self, key: str, charge_id: str, amount: Money) -> ProviderRefund:
                raise ProviderRefused("account_closed")

        payment = await charge(embedded)
        working = provider(embedded)
        embedded.context.resources[PaymentProvider] = RefusesRefunds(embedded.context)
        failed = await refund(embedded, payment["payment_id"], amount=20)
        embedded.context.resources[PaymentProvider] = working
        again = await refund(embedded, payment["payment_id"], amount=25)

        assert (failed.json()["status"], failed.json()["failure_reason"]) == ("failed", "account_closed")
        assert again.json()["status"] == "succeeded"
        assert await ledger_balances(embedded) == {"provider": 0, "orders": -2500, "refunds": 2500}
