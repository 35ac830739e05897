"""The kit's own promise, under faults: an event that was committed takes effect once, at every service it concerns."""

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

from portico.drill.faults import FaultPlan, Lives
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
from portico.testing.clock import HeldClock
from portico.testing.issuer import Issuer

BOOK = BookId.new()
LOANS = 60


@consumes(BookLent, name="add-copy-of-lent-book")
async def note_loan_when_book_lent(event: BookLent, work: UnitOfWork) -> None:
    work.add(Loan(loan_id=LoanId.new(), book_id=BOOK, reader_id=event.reader_id, due_at=event.due_at))


@consumes(BookLent, name="forget-lent-book")
async def forgetful_when_book_lent(event: BookLent, work: UnitOfWork) -> None:
    """A planted bug: what was handled is forgotten, so a repeated event takes effect again."""
    await note_loan_when_book_lent.function(event, work)
    await work.execute(delete(inbox).where(inbox.c.event_id == event.event_id))


def library(consumer: Any) -> System:
    twins = replace(lending, name="twins", consumers=[consumer], publishes=[], routers=[])
    return System("library", summary="Lends, and takes note", gateway=1, services={lending: 1, twins: 2})


@asynccontextmanager
async def living(folder: Path, plan: FaultPlan, consumer: Any = note_loan_when_book_lent) -> AsyncIterator[Lives]:
    clock = HeldClock()
    form = TokenFormat(issuer="portico", audience="library")
    environment = Environment(
        {"DATA_DIR": str(folder), "EVENT_RETRY_DELAY": "0.02", "EVENT_ATTEMPTS": "50", "RELAY_LEASE": "0.2"}
    )
    async with EmbeddedBroker(folder / "broker.db") as broker:
        lives = Lives(
            library(consumer),
            environment,
            verifier_of=lambda _: KeyVerifier(Issuer(clock, form), form, clock),
            broker=broker,
            plan=plan,
        )
        async with lives:
            yield lives


async def lend(lives: Lives, number: int) -> None:
    """Have a loan's event committed, however often it has to be tried. A commit of unknown outcome is looked up."""
    loan = LoanId.new()
    while True:
        try:
            running = lives.context("loans")
            async with running.reader() as reader:
                if await reader.get(Loan, loan) is not None:
                    return
            async with running.transaction() as work:
                now = work.now
                work.add(Loan(loan_id=loan, book_id=BookId.new(), reader_id=UserId.new(), due_at=now))
                work.publish(BookLent(loan_id=loan, book_id=BookId.new(), reader_id=UserId.new(), due_at=now))
        except Exception as error:
            if not (isinstance(error, CallError | RuntimeError) or is_unavailable(error)):
                raise
        await lives.settle()
        await asyncio.sleep(0)


async def count(lives: Lives, service: str, table: Any, *where: Any) -> int:
    async with lives.context(service).reader() as reader:
        return await reader.one(select(func.count()).select_from(table).where(*where)) or 0


async def quiet(lives: Lives) -> None:
    """Wait until nothing is on its way any more."""
    lives.plan.active = False
    await lives.settle()
    async with asyncio.timeout(60):
        while (
            await count(lives, "loans", outbox)
            or await lives.broker.backlog("twins")
            or await count(lives, "twins", failed_events, failed_events.c.state == "waiting")
        ):
            await lives.settle()


class TestLives:
    @pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3))])
    async def test_whatever_goes_wrong_each_event_takes_effect_once(self, tmp_path: Path, seed: int) -> None:
        plan = FaultPlan(seed, rate=0.15, longest=0.005)
        async with living(tmp_path, plan) as lives:
            for start in range(0, LOANS, 10):
                await asyncio.gather(*(lend(lives, number) for number in range(start, start + 10)))
            await quiet(lives)

            assert await count(lives, "loans", event_log) == LOANS
            assert await count(lives, "twins", Loan.__table__) == LOANS
            assert await count(lives, "twins", failed_events) == 0
            assert await count(lives, "twins", Book.__table__) == 0
            assert plan.injected.total() > 0

    async def test_a_consumer_that_forgets_what_it_handled_is_found_out(self, tmp_path: Path) -> None:
        plan = FaultPlan(1, ["duplicate"], rate=0.3)
        async with living(tmp_path, plan, forgetful_when_book_lent) as lives:
            await asyncio.gather(*(lend(lives, number) for number in range(LOANS)))
            async with asyncio.timeout(60):  # that faults go on until all was delivered
                while await count(lives, "twins", Loan.__table__) < LOANS:
                    pass
            await quiet(lives)

            assert await count(lives, "twins", Loan.__table__) > LOANS

    async def test_a_crash_ends_a_life_and_another_begins(self, tmp_path: Path) -> None:
        async with living(tmp_path, FaultPlan(1, rate=0.0)) as lives:
            before = lives.now["loans"]
            before.crash()
            await lives.settle()

            assert lives.now["loans"] is not before
            assert (lives.crashes, before.over) == (1, True)
            await lend(lives, 1)
            assert await count(lives, "loans", Loan.__table__) == 1
