import asyncio
from contextlib import suppress

import pytest
from sqlalchemy import func, select
from tests.examples.loans.events import BookLent
from tests.examples.loans.ids import BookId, LoanId
from tests.examples.loans.models import Book

from portico.kit.auth.principal import UserId
from portico.kit.data.kit_tables import outbox
from portico.kit.data.unit_of_work import NotPublished
from portico.kit.messaging.envelope import Envelope
from portico.kit.messaging.event import Event
from portico.kit.telemetry.context import RequestContext, request_context
from portico.kit.telemetry.trace_context import TraceContext
from portico.testing.running_service import RunningService


def lent(loans: RunningService) -> BookLent:
    return BookLent(loan_id=LoanId.new(), book_id=BookId.new(), reader_id=UserId.new(), due_at=loans.clock.now())


async def waiting(loans: RunningService) -> int:
    async with loans.context.reader() as reader:
        return await reader.one(select(func.count()).select_from(outbox)) or 0


class TestPublish:
    async def test_an_event_is_committed_with_the_state_change(self, loans: RunningService) -> None:
        book = await loans.given(Book(title="Dune"))

        answer = await loans.as_user("borrower").post("/loans", json={"book_id": book.book_id})

        assert answer.status_code == 201
        [event] = await loans.published()
        assert isinstance(event, BookLent)
        assert (event.book_id, event.loan_id) == (book.book_id, answer.json()["loan_id"])

    async def test_a_rollback_discards_its_events(self, loans: RunningService) -> None:
        with suppress(LookupError):
            async with loans.context.transaction() as work:
                work.publish(lent(loans))
                raise LookupError

        assert await waiting(loans) == 0

    async def test_rolling_back_a_savepoint_discards_its_events(self, loans: RunningService) -> None:
        kept = lent(loans)

        async with loans.context.transaction() as work:
            work.publish(kept)
            with suppress(LookupError):
                async with work.savepoint():
                    work.publish(lent(loans))
                    raise LookupError

        assert [event.message_id for event in await loans.published()] == [kept.message_id]

    async def test_a_commit_wakes_the_relay(self, loans: RunningService) -> None:
        woken: asyncio.Event = loans.context.committed_events
        woken.clear()

        async with loans.context.transaction() as work:
            work.publish(lent(loans))
            await work.flush()
            assert not woken.is_set()

        assert woken.is_set()

    async def test_an_undeclared_event_is_rejected(self, loans: RunningService) -> None:
        class BookBurnt(Event, type="book.burnt", version=1, aggregate="book_id"):
            book_id: BookId

        async with loans.context.transaction() as work:
            with pytest.raises(NotPublished):
                work.publish(BookBurnt(book_id=BookId.new()))

    async def test_each_event_carries_the_trace_in_which_it_was_published(self, loans: RunningService) -> None:
        traces = [TraceContext.new(), TraceContext.new()]
        async with loans.context.transaction() as work:
            for trace in traces:
                token = request_context.set(RequestContext("loans", "r-1", trace))
                work.publish(lent(loans))
                request_context.reset(token)

        async with loans.context.reader() as reader:
            rows = await reader.rows(select(outbox.c.body).order_by(outbox.c.id))

        assert [Envelope.parse(row.body).trace for row in rows] == list(map(str, traces))

    async def test_an_event_carries_the_trace(self, loans: RunningService) -> None:
        trace = TraceContext.new()
        token = request_context.set(RequestContext("loans", "r-1", trace))
        async with loans.context.transaction() as work:
            work.publish(lent(loans))
        request_context.reset(token)

        async with loans.context.reader() as reader:
            [row] = await reader.rows(select(outbox.c.body, outbox.c.aggregate))
        envelope = Envelope.parse(row.body)

        assert envelope.trace == str(trace)
        assert (envelope.source, envelope.subject) == ("/catalog/loans", row.aggregate)
