import asyncio
from collections.abc import Sequence
from datetime import datetime

import pytest
from sqlalchemy import text
from tests.services.payments.support import (
    ATTEMPT_LIMIT,
    charge,
    charge_body,
    ledger_balances,
    provider,
    provider_charges,
    published_types,
    read,
)

from portico.contracts.payments import PaymentId
from portico.kit.auth import UserId
from portico.kit.foundation.money import Money
from portico.kit.jobs.runner import JobRunner
from portico.services.payments import service
from portico.services.payments.domain import PaymentRequest
from portico.services.payments.jobs import settle_open_payments
from portico.services.payments.models import Payment
from portico.services.payments.provider import (
    CalledInTransaction,
    ChargeRequest,
    PaymentProvider,
    ProviderCharge,
    ProviderEvent,
    ProviderRefund,
)
from portico.services.payments.service import charge as charge_use_case
from portico.services.payments.simulated_provider.jobs import run_simulated_provider
from portico.testing.databases import Databases
from portico.testing.running_service import RunningService, run_service


class CrashingProvider:
    """A provider whose caller crashes, either after the charge or before it."""

    name = "simulated"

    def __init__(self, within: PaymentProvider, *, charges: bool) -> None:
        self._within = within
        self._charges = charges

    async def charge(self, order: ChargeRequest) -> ProviderCharge:
        if self._charges:
            await self._within.charge(order)
        raise asyncio.CancelledError

    async def find_charge(self, key: str) -> ProviderCharge | None:
        return await self._within.find_charge(key)

    async def refund(self, key: str, charge_id: str, amount: Money) -> ProviderRefund:
        return await self._within.refund(key, charge_id, amount)

    async def charges(self, *, after: str | None, limit: int) -> Sequence[ProviderCharge]:
        return await self._within.charges(after=after, limit=limit)

    def event(self, body: bytes, signature: str | None, *, now: datetime) -> ProviderEvent:
        return self._within.event(body, signature, now=now)


async def crash_while_charging(
    payments: RunningService, *, charges: bool, method: str = "pm_ok"
) -> tuple[dict[str, object], str]:
    """Charge with a process that crashes; return the request and the payment's id."""
    request = charge_body(method=method)
    order = PaymentRequest(request["order_id"], UserId(request["user_id"]), Money(2500, "USD"), method)
    working = provider(payments)
    payments.context.resources[PaymentProvider] = CrashingProvider(working, charges=charges)
    with pytest.raises(asyncio.CancelledError):
        await charge_use_case(payments.context, request["key"], order)
    payments.context.resources[PaymentProvider] = working
    (left,) = (await payments.as_service("orders").get("/payments")).json()
    assert left["status"] == "processing"
    return request, left["payment_id"]


class TestProviderFaults:
    """The outcome is never guessed; the next request, webhook or job gets it from the provider."""

    async def test_slow_charge_is_processing_until_it_settles(self, payments: RunningService) -> None:
        request = charge_body(method="pm_slow")

        first = await charge(payments, **request)
        again = await charge(payments, **request)
        payments.clock.advance(3)
        settled = await charge(payments, **request)

        assert [each["status"] for each in (first, again, settled)] == ["processing", "processing", "succeeded"]
        assert await ledger_balances(payments) == {"provider": 2500, "orders": -2500}
        assert await published_types(payments) == ["payment.processed"]

    async def test_timeout_leaves_the_outcome_unknown(self, payments: RunningService) -> None:
        request = charge_body(method="pm_timeout_then_charged")

        first = await charge(payments, **request)
        found_out = await charge(payments, **request)

        assert (first["status"], found_out["status"]) == ("processing", "succeeded")
        assert await provider_charges(payments) == [("succeeded", 2500, 0)]
        assert await published_types(payments) == ["payment.processed"]

    async def test_provider_error_leaves_the_outcome_unknown(self, payments: RunningService) -> None:
        request = charge_body(method="pm_error_then_ok")

        first = await charge(payments, **request)
        too_early = await charge(payments, **request)
        payments.clock.advance(1)
        charged = await charge(payments, **request)

        assert [each["status"] for each in (first, too_early, charged)] == ["processing", "processing", "succeeded"]
        assert await provider_charges(payments) == [("succeeded", 2500, 0)]

    async def test_duplicate_webhook_counts_once(self, payments: RunningService) -> None:
        payment = await charge(payments, method="pm_duplicate_webhook")

        await run_simulated_provider.function(payments.context)

        assert (await read(payments, payment["payment_id"]))["status"] == "succeeded"
        assert await ledger_balances(payments) == {"provider": 2500, "orders": -2500}
        assert await published_types(payments) == ["payment.processed"]

    @pytest.mark.parametrize("method", ["pm_slow", "pm_timeout_then_charged"])
    async def test_webhook_settles_a_charge_that_no_request_repeats(
        self, payments: RunningService, method: str
    ) -> None:
        payment = await charge(payments, method=method)
        payments.clock.advance(2)

        await run_simulated_provider.function(payments.context)

        assert (await read(payments, payment["payment_id"]))["status"] == "succeeded"
        assert await published_types(payments) == ["payment.processed"]

    @pytest.mark.parametrize("method", ["pm_slow", "pm_timeout_then_charged", "pm_error_then_ok"])
    async def test_job_settles_a_charge_without_webhook(self, payments: RunningService, method: str) -> None:
        payment = await charge(payments, method=method)
        payments.clock.advance(2)

        await settle_open_payments.function(payments.context)

        assert (await read(payments, payment["payment_id"]))["status"] == "succeeded"
        assert await provider_charges(payments) == [("succeeded", 2500, 0)]
        assert await ledger_balances(payments) == {"provider": 2500, "orders": -2500}

    @pytest.mark.parametrize("method", ["pm_slow", "pm_timeout_then_charged", "pm_error_then_ok"])
    async def test_concurrent_settlements_count_once(self, payments: RunningService, method: str) -> None:
        request = charge_body(method=method)
        await charge(payments, **request)
        payments.clock.advance(2)

        await asyncio.gather(
            *(charge(payments, **request) for _ in range(6)),
            *(settle_open_payments.function(payments.context) for _ in range(3)),
            run_simulated_provider.function(payments.context),
        )

        assert await provider_charges(payments) == [("succeeded", 2500, 0)]
        assert await ledger_balances(payments) == {"provider": 2500, "orders": -2500}
        assert await published_types(payments) == ["payment.processed"]


class TestCrash:
    async def test_after_the_charge_is_settled_by_the_job(self, payments: RunningService) -> None:
        _, payment_id = await crash_while_charging(payments, charges=True)
        payments.clock.advance(ATTEMPT_LIMIT)

        await settle_open_payments.function(payments.context)

        assert (await read(payments, payment_id))["status"] == "succeeded"
        assert await provider_charges(payments) == [("succeeded", 2500, 0)]
        assert await ledger_balances(payments) == {"provider": 2500, "orders": -2500}

    async def test_before_the_charge_is_retried_after_the_attempt_ended(self, payments: RunningService) -> None:
        request, payment_id = await crash_while_charging(payments, charges=False)

        assert (await charge(payments, **request))["status"] == "processing"
        assert await provider_charges(payments) == []
        payments.clock.advance(ATTEMPT_LIMIT)
        await settle_open_payments.function(payments.context)

        assert (await read(payments, payment_id))["status"] == "succeeded"
        assert await provider_charges(payments) == [("succeeded", 2500, 0)]

    async def test_is_settled_by_a_repeated_request(self, payments: RunningService) -> None:
        request, _ = await crash_while_charging(payments, charges=True)

        assert (await charge(payments, **request))["status"] == "succeeded"

    async def test_job_settles_other_payments_if_one_fails(self, embedded: RunningService) -> None:
        broken, good = await charge(embedded, method="pm_slow"), await charge(embedded, method="pm_slow")
        embedded.clock.advance(2)
        working = provider(embedded)

        checked: list[str] = []

        class Broken(CrashingProvider):
            async def find_charge(self, key: str) -> ProviderCharge | None:
                checked.append(key)
                if key == broken["payment_id"]:
                    raise ZeroDivisionError
                return await super().find_charge(key)

        embedded.context.resources[PaymentProvider] = Broken(working, charges=True)
        await settle_open_payments.function(embedded.context)

        assert (await read(embedded, broken["payment_id"]))["status"] == "processing"
        assert (await read(embedded, good["payment_id"]))["status"] == "succeeded"
        checked.clear()
        await settle_open_payments.function(embedded.context)
        assert checked == []  # the broken payment was postponed
        embedded.clock.advance(10)
        await settle_open_payments.function(embedded.context)
        assert checked == [broken["payment_id"]]

    async def test_job_settles_other_payments_if_one_cannot_be_postponed(self, embedded: RunningService) -> None:
        broken, good = await charge(embedded, method="pm_slow"), await charge(embedded, method="pm_slow")
        async with embedded.context.transaction() as work:
            stuck = f"NEW.payment_id = '{broken['payment_id']}' BEGIN SELECT RAISE(ABORT, 'stuck'); END"
            await work.execute(text(f"CREATE TRIGGER stuck BEFORE UPDATE ON payments WHEN {stuck}"))
        embedded.clock.advance(2)

        await settle_open_payments.function(embedded.context)

        assert (await read(embedded, broken["payment_id"]))["status"] == "processing"
        assert (await read(embedded, good["payment_id"]))["status"] == "succeeded"


class TestUnresponsiveProvider:
    async def test_is_given_up_after_the_timeout(self, sqlite_databases: Databases) -> None:
        class Hangs(CrashingProvider):
            async def charge(self, order: ChargeRequest) -> ProviderCharge:
                await asyncio.Event().wait()
                raise AssertionError

        async with run_service(
            service, sqlite_databases, background=False, variables={"PAYMENTS_PROVIDER_TIMEOUT": "500ms"}
        ) as impatient:
            working = provider(impatient)
            impatient.context.resources[PaymentProvider] = Hangs(working, charges=False)
            payment = await charge(impatient)
            impatient.context.resources[PaymentProvider] = working
            impatient.clock.advance(1)
            await settle_open_payments.function(impatient.context)

            assert payment["status"] == "processing"
            assert (await read(impatient, payment["payment_id"]))["status"] == "succeeded"

    async def test_is_asked_with_exponential_backoff(self, embedded: RunningService) -> None:
        payment = await charge(embedded, method="pm_slow")
        checks = 0

        class Counts(CrashingProvider):
            async def find_charge(self, key: str) -> ProviderCharge | None:
                nonlocal checks
                checks += 1
                return ProviderCharge("ch_1", key, "processing", Money(2500, "USD"), Money(0, "USD"))

        embedded.context.resources[PaymentProvider] = Counts(provider(embedded), charges=False)
        for _ in range(60):
            embedded.clock.advance(1)
            await settle_open_payments.function(embedded.context)

        assert (await read(embedded, payment["payment_id"]))["status"] == "processing"
        assert 4 <= checks <= 8  # after 1, 2, 4, 8, 16 and 32 seconds


class TestOpenTransaction:
    async def test_rejects_every_call_to_the_provider(self, embedded: RunningService) -> None:
        order = ChargeRequest(PaymentId.new(), Money(1, "USD"), "pm_ok", "ord_1")

        async with embedded.context.transaction() as work:
            await work.get(Payment, PaymentId.new())
            for call in (
                provider(embedded).charge(order),
                provider(embedded).find_charge("key"),
                provider(embedded).refund("key", "ch_1", Money(1, "USD")),
                provider(embedded).charges(after=None, limit=1),
            ):
                with pytest.raises(CalledInTransaction):
                    await call


class TestScheduledJobs:
    async def test_settle_all_open_payments(self, payments: RunningService) -> None:
        created = [await charge(payments, method=method) for method in ("pm_slow", "pm_timeout_then_charged")]
        payments.clock.advance(10)
        runner = JobRunner(payments.context, payments.context.database)

        assert [await runner.run_due(each) for each in service.jobs] == [True, True, True]
        assert [await runner.run_due(each) for each in service.jobs] == [False, False, False]

        assert {(await read(payments, each["payment_id"]))["status"] for each in created} == {"succeeded"}
        assert await ledger_balances(payments) == {"provider": 5000, "orders": -5000}
