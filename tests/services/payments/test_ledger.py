import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from tests.services.payments.support import charge, charge_body, ledger_balances, provider_charges, refund, void

from portico.contracts.payments import PaymentId
from portico.kit.foundation.money import Money
from portico.services.payments import service
from portico.services.payments.jobs import settle_open_payments
from portico.services.payments.ledger.models import (
    LedgerEntry,
    LedgerIsAppendOnly,
    LedgerTransaction,
    TransactionId,
    posting,
)
from portico.services.payments.ledger.repository import Posting, post
from portico.services.payments.simulated_provider.jobs import run_simulated_provider
from portico.services.payments.simulated_provider.provider import BEHAVIORS
from portico.testing.databases import SQLiteDatabases
from portico.testing.running_service import RunningService, run_service


class TestPosting:
    @given(st.sampled_from(["charge", "refund"]), st.integers(0, 10**12))
    def test_sums_to_zero(self, kind: Any, minor: int) -> None:
        assert sum(amount for _, amount in posting(kind, Money(minor, "USD"))) == 0

    def test_refund_reverses_the_providers_side_of_a_charge(self) -> None:
        charge, refund = (dict(posting(kind, Money(5, "USD"))) for kind in ("charge", "refund"))

        assert charge["provider"] + refund["provider"] == 0


class TestLedger:
    async def test_rejects_a_second_posting(self, payments: RunningService) -> None:
        payment_id = PaymentId.new()

        async with payments.context.transaction() as work:
            await post(work, Posting("charge", payment_id, payment_id, Money(5, "USD")))
        with pytest.raises(IntegrityError):
            async with payments.context.transaction() as work:
                await post(work, Posting("charge", payment_id, payment_id, Money(5, "USD")))

        assert await ledger_balances(payments) == {"provider": 5, "orders": -5}

    @pytest.mark.parametrize("table", [LedgerEntry, LedgerTransaction])
    async def test_is_append_only(self, embedded: RunningService, table: Any) -> None:
        await charge(embedded)

        async def tamper(act: str) -> None:
            async with embedded.context.transaction() as work:
                row = (await work.all(select(table)))[0]
                if act == "delete":
                    await work.delete(row)
                else:
                    row.transaction_id = TransactionId.new()

        for act in ("change", "delete"):
            with pytest.raises(LedgerIsAppendOnly):
                await tamper(act)
        assert await ledger_balances(embedded) == {"provider": 2500, "orders": -2500}


SCENARIOS = st.tuples(
    st.sampled_from([*BEHAVIORS, "pm_unknown"]),
    st.integers(1, 10_000),
    st.lists(st.sampled_from(["charge", "refund", "void", "wait", "job", "webhooks"]), max_size=6),
)


class TestAnySequence:
    """Concurrent charges that are repeated, refunded and voided in any order while time passes."""

    @settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.lists(SCENARIOS, min_size=1, max_size=4))
    def test_the_sum_is_zero_and_matches_the_provider(self, scenarios: list[tuple[str, int, list[str]]]) -> None:
        with TemporaryDirectory() as folder:
            asyncio.run(self._run(scenarios, Path(folder)))

    async def _run(self, scenarios: list[tuple[str, int, list[str]]], folder: Path) -> None:
        async with run_service(service, SQLiteDatabases(folder / "databases"), background=False) as payments:
            await asyncio.gather(*(self._go(payments, *way) for way in scenarios))
            for _ in range(3):
                payments.clock.advance(400)
                await run_simulated_provider.function(payments.context)
                await settle_open_payments.function(payments.context)
            books = await ledger_balances(payments)
            kept = sum(
                amount - back for status, amount, back in await provider_charges(payments) if status == "succeeded"
            )
            assert books.get("provider", 0) == kept

    async def _go(self, payments: RunningService, method: str, minor: int, acts: list[str]) -> None:
        request = charge_body(method=method, amount=minor / 100)
        payment = await charge(payments, **request)
        for act in acts:
            if act == "charge":
                await payments.as_service("orders").post("/payments", json=request)
            elif act == "refund":
                await refund(payments, payment["payment_id"], amount=max(1, minor // 3) / 100)
            elif act == "void":
                await void(payments, request["key"])
            elif act == "wait":
                payments.clock.advance(2)
            elif act == "job":
                await settle_open_payments.function(payments.context)
            else:
                await run_simulated_provider.function(payments.context)
            assert (await ledger_balances(payments)).keys() <= {"provider", "orders", "refunds"}
