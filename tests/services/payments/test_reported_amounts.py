"""A report of the provider counts only with the amount and the currency that were requested."""

import asyncio
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from tests.services.payments.support import (
    charge,
    charge_body,
    event_body,
    ledger_balances,
    provider,
    published_types,
    read,
    refund,
    refunds,
    send_webhook,
    void,
)

from portico.kit.foundation.money import Money
from portico.services.payments import service
from portico.services.payments.jobs import settle_open_payments
from portico.services.payments.provider import (
    ChargeRequest,
    PaymentProvider,
    ProviderCharge,
    ProviderRefund,
    ProviderUnavailable,
)
from portico.services.payments.simulated_provider.provider import SimulatedProvider
from portico.testing.databases import SQLiteDatabases
from portico.testing.running_service import RunningService, run_service

OTHER_AMOUNTS = [Money(1, "USD"), Money(2499, "USD"), Money(2501, "USD"), Money(2500, "JPY"), Money(2500, "XXX")]


class OtherAmounts(SimulatedProvider):
    """A provider that reports `amount` for every charge and refund."""

    amount = Money(1, "USD")

    async def charge(self, request: ChargeRequest) -> ProviderCharge:
        return replace(await super().charge(request), amount=self.amount)

    async def find_charge(self, key: str) -> ProviderCharge | None:
        found = await super().find_charge(key)
        return None if found is None else replace(found, amount=self.amount)

    async def refund(self, key: str, charge_id: str, amount: Money) -> ProviderRefund:
        return replace(await super().refund(key, charge_id, amount), amount=self.amount)


class LostAnswers(SimulatedProvider):
    """A provider whose answers to refunds are lost."""

    async def refund(self, key: str, charge_id: str, amount: Money) -> ProviderRefund:
        raise ProviderUnavailable


async def mismatches(payments: RunningService) -> list[dict[str, Any]]:
    """Return what `/ledger/reconcile` lists about the provider."""
    report = (await payments.as_user("payments:read").get("/ledger/reconcile")).json()
    found = [each for each in report["mismatches"] if each["kind"] == "provider_differs"]
    return [{name: each[name] for name in ("payment_id", "currency", "expected", "found")} for each in found]


def errors(lines: list[Any]) -> list[dict[str, Any]]:
    """Return the fields of the errors that were logged."""
    return [
        {name: value for name, value in line.items() if name not in {"event", "log_level"}}
        for line in lines
        if line["event"] == "payment_amount_contradicted" and line["log_level"] == "error"
    ]


class TestCharge:
    @pytest.mark.parametrize("other", OTHER_AMOUNTS, ids=str)
    @pytest.mark.parametrize("status", ["succeeded", "failed"])
    async def test_webhook_with_another_amount_is_not_believed(
        self, embedded: RunningService, other: Money, status: str
    ) -> None:
        payment = await charge(embedded, method="pm_slow")
        body = event_body(payment, status, amount=other.minor, currency=other.currency)

        with capture_logs() as lines:
            answer = await send_webhook(embedded, body)

        assert (answer.status_code, answer.json()["outcome"]) == (200, "handled")
        assert (await read(embedded, payment["payment_id"]))["status"] == "processing"
        assert (await ledger_balances(embedded), await published_types(embedded)) == ({}, [])
        (error,) = errors(lines)
        assert (error["payment_id"], error["reported_minor"], error["reported_currency"]) == (
            payment["payment_id"],
            other.minor,
            other.currency,
        )
        (listed,) = await mismatches(embedded)
        assert (listed["payment_id"], listed["currency"]) == (payment["payment_id"], other.currency)
        assert listed["expected"] == (25 if other.currency == "USD" else 0)

    async def test_correct_report_settles_it_later(self, payments: RunningService) -> None:
        payment = await charge(payments, method="pm_slow")
        await send_webhook(payments, event_body(payment, amount=1))
        listed = await mismatches(payments)

        await send_webhook(payments, event_body(payment, event_id="evt_2"))

        assert listed == [{"payment_id": payment["payment_id"], "currency": "USD", "expected": 25, "found": 0.01}]
        assert (await read(payments, payment["payment_id"]))["status"] == "succeeded"
        assert await mismatches(payments) == []
        assert await ledger_balances(payments) == {"provider": 2500, "orders": -2500}

    async def test_answer_and_look_up_with_another_amount_are_not_believed(self, payments: RunningService) -> None:
        working = provider(payments)
        payments.context.resources[PaymentProvider] = OtherAmounts(payments.context)
        request = charge_body()

        with capture_logs() as lines:
            answered = await charge(payments, **request)
            repeated = await charge(payments, **request)
            payments.clock.advance(600)
            await settle_open_payments.function(payments.context)

        assert (answered["status"], repeated["status"]) == ("processing", "processing")
        assert (await read(payments, answered["payment_id"]))["status"] == "processing"
        assert len(errors(lines)) == 3
        assert (await ledger_balances(payments), await published_types(payments)) == ({}, [])
        assert [each["found"] for each in await mismatches(payments)] == [0.01]
        payments.context.resources[PaymentProvider] = working
        assert (await charge(payments, **request))["status"] == "succeeded"
        assert await mismatches(payments) == []

    async def test_charge_that_is_found_after_a_void_is_not_refunded_with_another_amount(
        self, embedded: RunningService
    ) -> None:
        request = charge_body(method="pm_error_then_ok")
        payment = await charge(embedded, **request)
        embedded.clock.advance(600)
        assert (await void(embedded, request["key"])).status_code == 200

        await send_webhook(embedded, event_body(payment, amount=1))

        assert (await read(embedded, payment["payment_id"]))["status"] == "voided"
        assert (await ledger_balances(embedded), await refunds(embedded, payment["payment_id"])) == ({}, [])
        assert [each["found"] for each in await mismatches(embedded)] == [0.01]

    async def test_report_about_a_settled_charge_changes_nothing(self, embedded: RunningService) -> None:
        payment = await charge(embedded)

        with capture_logs() as lines:
            await send_webhook(embedded, event_body(payment, amount=1))

        assert len(errors(lines)) == 1
        assert (await read(embedded, payment["payment_id"]))["status"] == "succeeded"
        assert await mismatches(embedded) == []


class TestRefund:
    async def test_answer_with_another_amount_is_not_believed(self, payments: RunningService) -> None:
        payment = await charge(payments)
        working = provider(payments)
        payments.context.resources[PaymentProvider] = OtherAmounts(payments.context)

        with capture_logs() as lines:
            refunded = (await refund(payments, payment["payment_id"], amount=5, key="one")).json()

        assert refunded["status"] == "processing"
        (error,) = errors(lines)
        assert (error["refund_id"], error["expected_minor"], error["reported_minor"]) == (refunded["refund_id"], 500, 1)
        assert await mismatches(payments) == [
            {"payment_id": payment["payment_id"], "currency": "USD", "expected": 5, "found": 0.01}
        ]
        assert await ledger_balances(payments) == {"provider": 2500, "orders": -2500}
        payments.context.resources[PaymentProvider] = working
        payments.clock.advance(600)
        await settle_open_payments.function(payments.context)
        assert (await read(payments, payment["payment_id"]))["refunded"] == 5
        assert await mismatches(payments) == []

    @pytest.mark.parametrize("other", OTHER_AMOUNTS, ids=str)
    @pytest.mark.parametrize("status", ["succeeded", "failed"])
    async def test_webhook_with_another_amount_is_not_believed(
        self, embedded: RunningService, other: Money, status: str
    ) -> None:
        payment = await charge(embedded)
        embedded.context.resources[PaymentProvider] = LostAnswers(embedded.context)
        refund_id = (await refund(embedded, payment["payment_id"])).json()["refund_id"]
        about = {"object": "refund", "amount": other.minor, "currency": other.currency}

        await send_webhook(embedded, event_body({"payment_id": refund_id}, status, **about))

        assert [each["status"] for each in await refunds(embedded, payment["payment_id"])] == ["processing"]
        assert await ledger_balances(embedded) == {"provider": 2500, "orders": -2500}
        assert [each["currency"] for each in await mismatches(embedded)] == [other.currency]


REPORTS = st.lists(
    st.tuples(
        st.sampled_from(["processing", "succeeded", "failed"]),
        st.sampled_from([0, 1, 2499, 2500, 2501, 10**15]),
        st.sampled_from(["USD", "JPY", "EUR"]),
    ),
    max_size=5,
)


class TestAnyReports:
    @settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.lists(REPORTS, min_size=1, max_size=6))
    def test_first_final_report_with_the_right_amount_decides(
        self, histories: list[list[tuple[str, int, str]]]
    ) -> None:
        with TemporaryDirectory() as folder:
            asyncio.run(self._run(histories, Path(folder)))

    async def _run(self, histories: list[list[tuple[str, int, str]]], folder: Path) -> None:
        async with run_service(service, SQLiteDatabases(folder / "databases"), background=False) as payments:
            for history in histories:
                payment_id = (await charge(payments, method="pm_slow"))["payment_id"]
                for number, (status, minor, currency) in enumerate(history):
                    about = {"amount": minor, "currency": currency, "event_id": f"{payment_id}-{number}"}
                    await send_webhook(payments, event_body({"payment_id": payment_id}, status, **about))
                believed = [status for status, *amount in history if amount == [2500, "USD"] and status != "processing"]
                expected = believed[0] if believed else "processing"
                is_listed = expected == "processing" and any(amount != [2500, "USD"] for _, *amount in history)
                assert (await read(payments, payment_id))["status"] == expected
                assert (payment_id in {each["payment_id"] for each in await mismatches(payments)}) == is_listed
            succeeded = sum(event == "payment.processed" for event in await published_types(payments))
            assert (await ledger_balances(payments)).get("provider", 0) == 2500 * succeeded
