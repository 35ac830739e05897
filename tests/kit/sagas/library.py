"""A library that lends books for a deposit: the service, the desk and saga runners under the test's control."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tests.examples.loans import service
from tests.examples.loans.desk import Desk
from tests.examples.loans.ids import LendingId
from tests.examples.loans.models import Book, Lending
from tests.examples.loans.repository import Books, Lendings
from tests.examples.loans.saga import ask_for, lend_for_deposit

from portico.kit.auth.principal import Principal, UserId
from portico.kit.calls.channel import Channel
from portico.kit.calls.retries import RetryingChannel
from portico.kit.sagas import SagaStatus, TimelineEntry, UndoTiming, request_undo, saga_status, timeline
from portico.kit.sagas.runner import SagaRunner
from portico.testing.databases import Databases
from portico.testing.running_service import RunningService, run_service

LIBRARIAN = Principal(
    subject="user_librarian",
    kind="user",
    permissions=frozenset({"books:write"}),
    roles=(),
    token_id="t",
    session_id=None,
    issued_at=datetime(2026, 1, 1, tzinfo=UTC),
    expires_at=datetime(2027, 1, 1, tzinfo=UTC),
)


@dataclass
class Library:
    loans: RunningService
    desk: Desk
    runner: SagaRunner = field(init=False)

    def __post_init__(self) -> None:
        self.runner = self.another_runner()

    def another_runner(self) -> SagaRunner:
        """Return a runner as in another process. Its delays are the maximum of their random range."""
        context = self.loans.context
        return SagaRunner(
            context,
            context.service.sagas,
            database=context.database,
            tracing=context.tracing,
            health=context.health,
            draw=lambda: 1.0,
        )

    async def asked(self, title: str = "Emma") -> LendingId:
        """Start a saga that lends a book."""
        book = await self.loans.given(Book(title=title))
        async with self.loans.context.transaction() as work:
            lending = await ask_for(work, book.book_id, reader_id=UserId.new())
        return lending.lending_id

    async def after(self, seconds: float, *, times: int = 1) -> None:
        """Advance the time and run due sagas, `times` times."""
        for _ in range(times):
            self.loans.clock.advance(seconds)
            await self.runner.run_due()

    async def cancelled(self, lending_id: LendingId) -> UndoTiming:
        async with self.loans.context.transaction() as work:
            return await request_undo(work, lend_for_deposit, lending_id, reason="The reader thought better of it")

    async def lending(self, lending_id: LendingId) -> Lending:
        async with self.loans.context.reader() as reader:
            return await Lendings(reader).get(lending_id)

    async def story(self, lending_id: LendingId) -> str:
        """Return the states of the lending, in order."""
        return (await self.lending(lending_id)).story

    async def book_of(self, lending_id: LendingId) -> Book:
        async with self.loans.context.reader() as reader:
            return await Books(reader).get((await Lendings(reader).get(lending_id)).book_id)

    async def saga_status(self, lending_id: LendingId) -> SagaStatus:
        async with self.loans.context.reader() as reader:
            found = await saga_status(reader, lending_id)
        assert found is not None
        return found

    async def timeline(self, lending_id: LendingId) -> list[TimelineEntry]:
        async with self.loans.context.reader() as reader:
            return await timeline(reader, lending_id)

    async def timeline_text(self, lending_id: LendingId) -> list[str]:
        """Return the timeline as text."""
        return [
            f"{each.action} {each.step} {each.outcome}".replace("  ", " ") for each in await self.timeline(lending_id)
        ]


@asynccontextmanager
async def open_library(
    databases: Databases,
    *,
    background: bool = False,
    variables: Mapping[str, str] | None = None,
    desk: Desk | None = None,
    retries: bool = False,
) -> AsyncIterator[Library]:
    """Run the library. With `retries`, calls are retried as in production."""
    desk = desk or Desk()
    channel: Channel = RetryingChannel(desk, draw=lambda: 0.0) if retries else desk
    async with run_service(service, databases, channel=channel, background=background, variables=variables) as loans:
        yield Library(loans, desk)
