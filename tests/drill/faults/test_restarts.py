"""Under faults, each committed event takes effect once in every service that consumes it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, func, select
from tests.examples.loans import service as lending
from tests.examples.loans.events import BookLent
from tests.examples.loans.ids import BookId, LoanId
from tests.examples.loans.models import Book, Loan

from portico.drill.faults import FaultPlan, RestartingServices
from portico.kit.auth.principal import UserId
from portico.kit.auth.tokens import TokenFormat
from portico.kit.auth.verification import KeyVerifier
from portico.kit.calls.errors import CallError
from portico.kit.data import UnitOfWork
from portico.kit.data.failures import is_unavailable
from portico.kit.data.kit_tables import event_log, failed_events, inbox, outbox
from portico.kit.messaging.brokers.embedded import EmbeddedBroker
from portico.kit.messaging.consumer import consumes
from portico.kit.runtime.system import System
from portico.kit.settings import Environment
from portico.testing.clock import ManualClock
from portico.testing.issuer import Issuer

BOOK = BookId.new()
LOANS = 60


@consumes(BookLent, name="add-copy-of-lent-book")
async def add_copy_of_lent_book(event: BookLent, work: UnitOfWork) -> None:
    work.add(Loan(loan_id=LoanId.new(), book_id=BOOK, reader_id=event.reader_id, due_at=event.due_at))


@consumes(BookLent, name="forget-lent-book")
async def forget_lent_book(event: BookLent, work: UnitOfWork) -> None:
    """A planted bug: the inbox entry is deleted, so that a repeated event takes effect again."""
    await add_copy_of_lent_book.function(event, work)
    await work.execute(delete(inbox).where(inbox.c.event_id == event.message_id))


def library(consumer: Any) -> System:
    twins = replace(lending, name="twins", consumers=[consumer], publishes=[], routers=[])
    return System("library", summary="Lends books", gateway=1, services={lending: 1, twins: 2})


@asynccontextmanager
async def run_services(
    folder: Path, plan: FaultPlan, consumer: Any = add_copy_of_lent_book
) -> AsyncIterator[RestartingServices]:
    clock = ManualClock()
    form = TokenFormat(issuer="portico", audience="library")
    environment = Environment(
        {"DATA_DIR": str(folder), "EVENT_RETRY_DELAY": "0.02", "EVENT_ATTEMPTS": "50", "RELAY_LEASE": "0.2"}
    )
    async with EmbeddedBroker(folder / "broker.db") as broker:
        services = RestartingServices(
            library(consumer),
            environment,
            verifier_of=lambda _: KeyVerifier(Issuer(clock, form), form, clock),
            broker=broker,
            plan=plan,
        )
        async with services:
            yield services


async def lend(services: RestartingServices, number: int) -> None:
    """Commit a loan and its event, with retries. After a commit of unknown outcome, look whether the loan exists."""
    loan = LoanId.new()
    while True:
        try:
            running = services.context("loans")
            async with running.reader() as reader:
                if await reader.get(Loan, loan) is not None:
                    return
            async with running.transaction() as work:
                now = work.now
                work.add(Loan(loan_id=loan, book_id=BookId.new(), reader_id=UserId.new(), due_at=now))
                work.publish(BookLent(loan_id=loan, book_id=BookId.new(), reader_id=UserId.new(), due_at=now))
        except Exception as error:
            # ValueError: aiosqlite's error for a connection that the crash closed while it was in use.
            if not (isinstance(error, CallError | RuntimeError | ValueError) or is_unavailable(error)):
                raise
        await services.wait_for_restarts()
        await asyncio.sleep(0)


async def count(services: RestartingServices, service: str, table: Any, *where: Any) -> int:
    async with services.context(service).reader() as reader:
        return await reader.one(select(func.count()).select_from(table).where(*where)) or 0


async def wait_until_quiet(services: RestartingServices) -> None:
    """Wait until no work is pending."""
    services.plan.active = False
    await services.wait_for_restarts()
    async with asyncio.timeout(60):
        while (
            await count(services, "loans", outbox)
            or await services.broker.backlog("twins")
            or await count(services, "twins", failed_events, failed_events.c.state == "waiting")
        ):
            await services.wait_for_restarts()


class TestRestartingServices:
    @pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3))])
    async def test_under_faults_each_event_takes_effect_once(self, tmp_path: Path, seed: int) -> None:
        plan = FaultPlan(seed, rate=0.15, max_delay=0.005)
        async with run_services(tmp_path, plan) as services:
            for start in range(0, LOANS, 10):
                await asyncio.gather(*(lend(services, number) for number in range(start, start + 10)))
            await wait_until_quiet(services)

            assert await count(services, "loans", event_log) == LOANS
            assert await count(services, "twins", Loan.__table__) == LOANS
            assert await count(services, "twins", failed_events) == 0
            assert await count(services, "twins", Book.__table__) == 0
            assert plan.injected.total() > 0

    async def test_a_consumer_that_forgets_what_it_handled_is_found(self, tmp_path: Path) -> None:
        plan = FaultPlan(1, ["duplicate"], rate=0.3)
        async with run_services(tmp_path, plan, forget_lent_book) as services:
            await asyncio.gather(*(lend(services, number) for number in range(LOANS)))
            async with asyncio.timeout(60):  # faults continue until all events are delivered
                while await count(services, "twins", Loan.__table__) < LOANS:
                    pass
            await wait_until_quiet(services)

            assert await count(services, "twins", Loan.__table__) > LOANS

    async def test_a_crashed_service_is_restarted(self, tmp_path: Path) -> None:
        async with run_services(tmp_path, FaultPlan(1, rate=0.0)) as services:
            before = services.instances["loans"]
            before.crash()
            await services.wait_for_restarts()

            assert services.instances["loans"] is not before
            assert (services.crashes, before.has_crashed) == (1, True)
            await lend(services, 1)
            assert await count(services, "loans", Loan.__table__) == 1
