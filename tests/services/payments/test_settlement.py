import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import pytest
from sqlalchemy import text
from tests.services.payments.support import at_provider, balance, charge, draft, events, provider, read

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
from portico.testing.running_service import RunningService, running


class DiesBeforeTheAnswer:
    """A provider whose caller dies: once it has charged, or before it was asked at all."""

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


async def leave_open(
    payments: RunningService, *, charges: bool, method: str = "pm_ok"
) -> tuple[dict[str, object], str]:
    """A charge whose process died on the way; what was asked, and the payment."""
    asked = draft(method=method)
    order = PaymentRequest(asked["order_id"], UserId(asked["user_id"]), Money(2500, "USD"), method)
    whole = provider(payments)
    payments.context.provided[PaymentProvider] = DiesBeforeTheAnswer(whole, charges=charges)
    with pytest.raises(asyncio.CancelledError):
        await charge_use_case(payments.context, asked["key"], order)
    payments.context.provided[PaymentProvider] = whole
    (left,) = (await payments.as_service("orders").get("/payments")).json()
    assert left["status"] == "processing"
    return asked, left["payment_id"]


class TestEveryFault:
    """The outcome is never guessed, and found out by whoever asks next."""

    async def test_a_slow_one_is_processing_until_the_provider_knows(self, payments: RunningService) -> None:
        asked = draft(method="pm_slow")

        first = await charge(payments, **asked)
        again = await charge(payments, **asked)
        payments.clock.advance(3)
        settled = await charge(payments, **asked)

        assert [each["status"] for each in (first, again, settled)] == ["processing", "processing", "succeeded"]
        assert await balance(payments) == {"provider": 2500, "orders": -2500}
        assert await events(payments) == ["payment.processed"]

    async def test_a_time_out_is_no_outcome(self, payments: RunningService) -> None:
        asked = draft(method="pm_timeout_then_charged")

        first = await charge(payments, **asked)
        found_out = await charge(payments, **asked)

        assert (first["status"], found_out["status"]) == ("processing", "succeeded")
        assert await at_provider(payments) == [("succeeded", 2500, 0)]
        assert await events(payments) == ["payment.processed"]

    async def test_an_error_is_no_outcome_either(self, payments: RunningService) -> None:
        asked = draft(method="pm_error_then_ok")

        first = await charge(payments, **asked)
        too_early = await charge(payments, **asked)
        payments.clock.advance(1)
        charged = await charge(payments, **asked)

        assert [each["status"] for each in (first, too_early, charged)] == ["processing", "processing", "succeeded"]
        assert await at_provider(payments) == [("succeeded", 2500, 0)]

    async def test_a_webhook_that_comes_twice_counts_once(self, payments: RunningService) -> None:
        made = await charge(payments, method="pm_duplicate_webhook")

        await run_simulated_provider.function(payments.context)

        assert (await read(payments, made["payment_id"]))["status"] == "succeeded"
        assert await balance(payments) == {"provider": 2500, "orders": -2500}
        assert await events(payments) == ["payment.processed"]

    @pytest.mark.parametrize("method", ["pm_slow", "pm_timeout_then_charged"])
    async def test_a_webhook_settles_what_nobody_asks_for(self, payments: RunningService, method: str) -> None:
        made = await charge(payments, method=method)
        payments.clock.advance(2)

        await run_simulated_provider.function(payments.context)

        assert (await read(payments, made["payment_id"]))["status"] == "succeeded"
        assert await events(payments) == ["payment.processed"]

    @pytest.mark.parametrize("method", ["pm_slow", "pm_timeout_then_charged", "pm_error_then_ok"])
    async def test_the_job_settles_what_nobody_tells_of(self, payments: RunningService, method: str) -> None:
        made = await charge(payments, method=method)
        payments.clock.advance(2)

        await settle_open_payments.function(payments.context)

        assert (await read(payments, made["payment_id"]))["status"] == "succeeded"
        assert await at_provider(payments) == [("succeeded", 2500, 0)]
        assert await balance(payments) == {"provider": 2500, "orders": -2500}

    @pytest.mark.parametrize("method", ["pm_slow", "pm_timeout_then_charged", "pm_error_then_ok"])
    async def test_all_who_ask_at_once_count_it_once(self, payments: RunningService, method: str) -> None:
        asked = draft(method=method)
        await charge(payments, **asked)
        payments.clock.advance(2)

        await asyncio.gather(
            *(charge(payments, **asked) for _ in range(6)),
            *(settle_open_payments.function(payments.context) for _ in range(3)),
            run_simulated_provider.function(payments.context),
        )

        assert await at_provider(payments) == [("succeeded", 2500, 0)]
        assert await balance(payments) == {"provider": 2500, "orders": -2500}
        assert await events(payments) == ["payment.processed"]


class TestACrash:
    async def test_after_the_charge_costs_nothing_but_time(self, payments: RunningService) -> None:
        _, payment_id = await leave_open(payments, charges=True)
        payments.clock.advance(15)

        await settle_open_payments.function(payments.context)

        assert (await read(payments, payment_id))["status"] == "succeeded"
        assert await at_provider(payments) == [("succeeded", 2500, 0)]
        assert await balance(payments) == {"provider": 2500, "orders": -2500}

    async def test_before_the_charge_has_it_made_once_the_attempt_is_over(self, payments: RunningService) -> None:
        asked, payment_id = await leave_open(payments, charges=False)

        assert (await charge(payments, **asked))["status"] == "processing"
        assert await at_provider(payments) == []
        payments.clock.advance(15)
        await settle_open_payments.function(payments.context)

        assert (await read(payments, payment_id))["status"] == "succeeded"
        assert await at_provider(payments) == [("succeeded", 2500, 0)]

    async def test_is_settled_by_a_repeat_too(self, payments: RunningService) -> None:
        asked, _ = await leave_open(payments, charges=True)

        assert (await charge(payments, **asked))["status"] == "succeeded"

    async def test_the_job_leaves_others_alone_where_one_fails(self, embedded: RunningService) -> None:
        broken, good = await charge(embedded, method="pm_slow"), await charge(embedded, method="pm_slow")
        embedded.clock.advance(2)
        whole = provider(embedded)

        asked: list[str] = []

        class Broken(DiesBeforeTheAnswer):
            async def find_charge(self, key: str) -> ProviderCharge | None:
                asked.append(key)
                if key == broken["payment_id"]:
                    raise ZeroDivisionError
                return await super().find_charge(key)

        embedded.context.provided[PaymentProvider] = Broken(whole, charges=True)
        await settle_open_payments.function(embedded.context)

        assert (await read(embedded, broken["payment_id"]))["status"] == "processing"
        assert (await read(embedded, good["payment_id"]))["status"] == "succeeded"
        asked.clear()
        await settle_open_payments.function(embedded.context)
        assert asked == []  # the broken one has to wait, as others may be due
        embedded.clock.advance(10)
        await settle_open_payments.function(embedded.context)
        assert asked == [broken["payment_id"]]

    async def test_the_job_leaves_others_alone_where_one_can_not_even_be_put_off(
        self, embedded: RunningService
    ) -> None:
        broken, good = await charge(embedded, method="pm_slow"), await charge(embedded, method="pm_slow")
        async with embedded.context.transaction() as work:
            stuck = f"NEW.payment_id = '{broken['payment_id']}' BEGIN SELECT RAISE(ABORT, 'stuck'); END"
            await work.execute(text(f"CREATE TRIGGER stuck BEFORE UPDATE ON payments WHEN {stuck}"))
        embedded.clock.advance(2)

        await settle_open_payments.function(embedded.context)

        assert (await read(embedded, broken["payment_id"]))["status"] == "processing"
        assert (await read(embedded, good["payment_id"]))["status"] == "succeeded"


class TestAProviderThatHangs:
    async def test_is_waited_for_so_long_and_no_longer(self, sqlite_databases: Databases) -> None:
        class Hangs(DiesBeforeTheAnswer):
            async def charge(self, order: ChargeRequest) -> ProviderCharge:
                await asyncio.Event().wait()
                raise AssertionError

        async with running(
            replace(service, jobs=()), sqlite_databases, variables={"PROVIDER_TIMEOUT": "500ms"}
        ) as impatient:
            whole = provider(impatient)
            impatient.context.provided[PaymentProvider] = Hangs(whole, charges=False)
            made = await charge(impatient)
            impatient.context.provided[PaymentProvider] = whole
            impatient.clock.advance(1)
            await settle_open_payments.function(impatient.context)

            assert made["status"] == "processing"
            assert (await read(impatient, made["payment_id"]))["status"] == "succeeded"

    async def test_is_asked_ever_more_rarely(self, embedded: RunningService) -> None:
        made = await charge(embedded, method="pm_slow")
        asked = 0

        class Counts(DiesBeforeTheAnswer):
            async def find_charge(self, key: str) -> ProviderCharge | None:
                nonlocal asked
                asked += 1
                return ProviderCharge("ch_1", key, "processing", Money(2500, "USD"), Money(0, "USD"))

        embedded.context.provided[PaymentProvider] = Counts(provider(embedded), charges=False)
        for _ in range(60):
            embedded.clock.advance(1)
            await settle_open_payments.function(embedded.context)

        assert (await read(embedded, made["payment_id"]))["status"] == "processing"
        assert 4 <= asked <= 8  # after 1, 2, 4, 8, 16 and 32 seconds


class TestTransactions:
    async def test_the_provider_is_never_called_within_one(self, embedded: RunningService) -> None:
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


class TestOnTheirClocks:
    async def test_the_services_jobs_settle_all_there_is(self, payments: RunningService) -> None:
        made = [await charge(payments, method=method) for method in ("pm_slow", "pm_timeout_then_charged")]
        payments.clock.advance(10)
        runner = JobRunner(payments.context)

        assert [await runner.run_due(each) for each in service.jobs] == [True, True, True]
        assert [await runner.run_due(each) for each in service.jobs] == [False, False, False]

        assert {(await read(payments, each["payment_id"]))["status"] for each in made} == {"succeeded"}
        assert await balance(payments) == {"provider": 5000, "orders": -5000}
