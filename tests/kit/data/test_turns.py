"""Parts of one transaction that run in turns, and write their rows together."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from sqlalchemy import bindparam, event, insert, select, update
from tests.examples.loans.ids import BookId
from tests.examples.loans.models import Book

from portico.kit.data.statements import Statement
from portico.kit.data.turns import run_in_turns, time_limit, write_together
from portico.kit.data.unit_of_work import UnitOfWork
from portico.kit.data.upsert import insert_if_absent
from portico.kit.foundation.problems import Conflict
from portico.testing.running_service import RunningService

BOOKS: Any = Book.__table__
ADD = Statement(insert(BOOKS))
RENAME = Statement(update(BOOKS).where(BOOKS.c.title == bindparam("old")).values(title=bindparam("new")))


def a_row(title: str) -> dict[str, Any]:
    return {"book_id": BookId.new(), "title": title, "revision": 1}


async def rename(work: UnitOfWork, old: str, new: str) -> bool:
    return await write_together(work, RENAME, {"old": old, "new": new})


@contextmanager
def updates(loans: RunningService) -> Iterator[list[str]]:
    """Record the UPDATE statements of books."""
    engine, seen = loans.context.database.writer.sync_engine, list[str]()

    def record(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("UPDATE books"):
            seen.append(statement)

    event.listen(engine, "before_cursor_execute", record)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", record)


async def titles(loans: RunningService) -> list[str]:
    async with loans.context.reader() as reader:
        return list(await reader.all(select(Book.title).order_by(Book.title)))


class TestWriteTogether:
    async def test_rows_of_several_parts_are_one_statement_where_the_database_can(self, loans: RunningService) -> None:
        await loans.given(Book(title="Dune"), Book(title="Solaris"))
        renames = [("Dune", "Arrakis"), ("Ubik", "Gone"), ("Solaris", "Sun")]

        with updates(loans) as seen:
            async with loans.context.transaction() as work:
                written = await run_in_turns(work, [partial(rename, work, *each) for each in renames])

        assert written == [True, False, True]
        assert await titles(loans) == ["Arrakis", "Sun"]
        assert len(seen) == (1 if loans.context.database.dialect == "postgresql" else 3)

    async def test_parts_continue_in_order_and_never_at_the_same_time(self, loans: RunningService) -> None:
        await loans.given(Book(title="Dune"), Book(title="Solaris"))
        story = []

        async def part(work: UnitOfWork, old: str) -> None:
            story.append(f"{old} begins")
            await rename(work, old, f"{old} 2")
            story.append(f"{old} goes on")
            await work.all(select(Book.title))
            await asyncio.sleep(0)
            story.append(f"{old} ends")

        async with loans.context.transaction() as work:
            await run_in_turns(work, [partial(part, work, each) for each in ("Dune", "Solaris")])

        first = ["Dune begins", "Solaris begins"]
        assert story == [*first, "Dune goes on", "Dune ends", "Solaris goes on", "Solaris ends"]

    async def test_a_part_that_has_loaded_rows_does_not_wait_for_others(self, loans: RunningService) -> None:
        await loans.given(Book(title="Dune"), Book(title="Solaris"))
        story = []

        async def part(work: UnitOfWork, old: str) -> None:
            [book] = await work.all(select(Book).where(Book.title == old))
            story.append(f"{old} begins")
            await write_together(work, ADD, a_row(f"{old} copy"))
            book.title = f"{old} 2"
            await work.flush_and_expunge()
            story.append(f"{old} ends")

        async with loans.context.transaction() as work:
            await run_in_turns(work, [partial(part, work, each) for each in ("Dune", "Solaris")])

        assert story == ["Dune begins", "Dune ends", "Solaris begins", "Solaris ends"]
        assert await titles(loans) == ["Dune 2", "Dune copy", "Solaris 2", "Solaris copy"]

    async def test_other_writes_do_not_let_other_parts_in_between(self, loans: RunningService) -> None:
        story = []

        async def part(work: UnitOfWork, title: str) -> None:
            story.append(f"{title} begins")
            await insert_if_absent(work, BOOKS, a_row(title))
            story.append(f"{title} ends")

        async with loans.context.transaction() as work:
            await run_in_turns(work, [partial(part, work, each) for each in ("Dune", "Solaris")])

        assert story == ["Dune begins", "Dune ends", "Solaris begins", "Solaris ends"]

    async def test_outside_of_turns_a_row_is_written_at_once(self, loans: RunningService) -> None:
        await loans.given(Book(title="Dune"))

        async with loans.context.transaction() as work:
            written = [await rename(work, "Dune", "Arrakis"), await rename(work, "Dune", "Arrakis")]

        assert written == [True, False]


class TestRunInTurns:
    async def test_a_failing_part_cancels_those_that_wait(self, loans: RunningService) -> None:
        await loans.given(Book(title="Dune"))
        ended = []

        async def wait(work: UnitOfWork) -> None:
            try:
                await rename(work, "Dune", "Arrakis")
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise

        async def fail() -> None:
            raise Conflict

        with pytest.raises(Conflict):
            async with loans.context.transaction() as work:
                await run_in_turns(work, [partial(wait, work), fail])

        assert (ended, await titles(loans)) == (["cancelled"], ["Dune"])

    async def test_cancelling_the_caller_cancels_the_parts(self, loans: RunningService) -> None:
        began, ended = asyncio.Event(), []

        async def wait() -> None:
            began.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("cancelled")

        async with loans.context.transaction() as work:
            running = asyncio.create_task(run_in_turns(work, [wait]))
            await began.wait()
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running

        assert ended == ["cancelled"]

    async def test_the_time_limit_of_a_part_does_not_count_while_it_waits(self, embedded_loans: RunningService) -> None:
        limits: list[asyncio.Timeout] = []
        while_waiting: list[float | None] = []

        async def wait(work: UnitOfWork) -> None:
            async with time_limit(60) as limit:
                limits.append(limit)
                await rename(work, "Dune", "Arrakis")

        async def look() -> None:
            while_waiting.append(limits[0].when())

        async with embedded_loans.context.transaction() as work:
            await run_in_turns(work, [partial(wait, work), look])

        assert while_waiting == [None]
        assert limits[0].when() is not None
