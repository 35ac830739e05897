import asyncio
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import insert, select, text, update
from sqlalchemy.exc import InvalidRequestError, PendingRollbackError
from tests.examples.loans import service
from tests.examples.loans.errors import TitleTaken
from tests.examples.loans.ids import BookId
from tests.examples.loans.models import Book
from tests.examples.loans.repository import Books

from portico.kit.data.reader import Reader, SessionClosed
from portico.kit.data.unit_of_work import UnitOfWork, current_unit_of_work
from portico.kit.foundation.problems import Conflict
from portico.testing.databases import Databases
from portico.testing.running_service import RunningService, run_service

BOOKS: Any = Book.__table__


def a_row(title: str) -> dict[str, Any]:
    return {"book_id": BookId.new(), "title": title, "revision": 1}


class TestUnitOfWork:
    async def test_a_commit_stores_the_changes(self, loans: RunningService) -> None:
        async with loans.context.transaction() as work:
            work.add(Book(title="Dune"))

        async with loans.context.reader() as reader:
            assert [book.title for book in await reader.all(select(Book))] == ["Dune"]

    async def test_an_exception_rolls_back(self, loans: RunningService) -> None:
        async def fail() -> None:
            async with loans.context.transaction() as work:
                work.add(Book(title="Dune"))
                await work.flush()
                raise Conflict

        with pytest.raises(Conflict):
            await fail()

        async with loans.context.reader() as reader:
            assert await reader.all(select(Book)) == []

    async def test_the_first_statement_begins_the_transaction(self, loans: RunningService) -> None:
        async with loans.context.transaction() as work:
            assert not work.has_begun
            await work.execute(select(Book))
            assert work.has_begun

    async def test_it_is_the_current_unit_of_work_of_its_task(self, loans: RunningService) -> None:
        async with loans.context.transaction() as work:
            assert current_unit_of_work.get() is work
        assert current_unit_of_work.get() is None

    async def test_a_unique_index_decides_between_two_callers(self, loans: RunningService) -> None:
        async def add() -> bool:
            try:
                async with loans.context.transaction() as work:
                    await work.insert(Book(title="Dune"), duplicate=TitleTaken(book_title="Dune"))
            except TitleTaken:
                return False
            return True

        assert sorted(await asyncio.gather(*(add() for _ in range(8)))) == [False] * 7 + [True]

    async def test_a_savepoint_is_rolled_back_alone(self, loans: RunningService) -> None:
        await loans.given(Book(title="Dune"))

        async with loans.context.transaction() as work:
            work.add(Book(title="Solaris"))
            with pytest.raises(TitleTaken):
                async with work.savepoint():
                    await work.insert(Book(title="Dune"), duplicate=TitleTaken(book_title="Dune"))
            work.add(Book(title="Ubik"))

        async with loans.context.reader() as reader:
            assert {book.title for book in await reader.all(select(Book))} == {"Dune", "Solaris", "Ubik"}

    async def test_mapped_objects_and_statements_over_tables_share_a_transaction(self, loans: RunningService) -> None:
        async with loans.context.transaction() as work:
            await work.execute(insert(BOOKS), [a_row("Dune")])
            work.add(Book(title="Solaris"))
            assert set(await work.all(select(Book.title))) == {"Dune", "Solaris"}
            await work.execute(update(BOOKS).values(title=BOOKS.c.title + "!"))

        async with loans.context.reader() as reader:
            assert set(await reader.all(select(Book.title))) == {"Dune!", "Solaris!"}

    async def test_an_exception_rolls_back_both_kinds_of_statements(self, loans: RunningService) -> None:
        async def fail() -> None:
            async with loans.context.transaction() as work:
                await work.execute(insert(BOOKS), [a_row("Dune")])
                work.add(Book(title="Solaris"))
                await work.flush()
                raise Conflict

        with pytest.raises(Conflict):
            await fail()

        async with loans.context.reader() as reader:
            assert await reader.all(select(Book)) == []

    async def test_a_savepoint_rolls_back_statements_over_tables(self, loans: RunningService) -> None:
        async def fail(work: UnitOfWork) -> None:
            async with work.savepoint():
                await work.execute(insert(BOOKS), [a_row("Solaris")])
                raise Conflict

        async with loans.context.transaction() as work:
            await work.execute(insert(BOOKS), [a_row("Dune")])
            with pytest.raises(Conflict):
                await fail(work)

        async with loans.context.reader() as reader:
            assert await reader.all(select(Book.title)) == ["Dune"]

    async def test_nothing_is_committed_after_a_rejected_row(self, loans: RunningService) -> None:
        await loans.given(Book(title="Dune"))

        async def go_on() -> None:
            async with loans.context.transaction() as work:
                with suppress(TitleTaken):
                    await work.insert(Book(title="Dune"), duplicate=TitleTaken(book_title="Dune"))
                await work.execute(insert(BOOKS), [a_row("Solaris")])

        with pytest.raises(PendingRollbackError):
            await go_on()

        async with loans.context.reader() as reader:
            assert await reader.all(select(Book.title)) == ["Dune"]

    async def test_its_connection_is_returned_before_after_commit_actions(self, databases: Databases) -> None:
        held: list[int] = []
        async with run_service(service, databases, background=False) as loans:  # which writes too
            pool: Any = loans.context.database.writer.pool
            async with loans.context.transaction() as work:
                await work.execute(insert(BOOKS), [a_row("Dune")])
                work.after_commit(lambda: held.append(pool.checkedout()))

        assert held == [0]

    async def test_after_commit_actions_run_after_the_commit(self, loans: RunningService) -> None:
        seen: list[int] = []

        async def look() -> None:
            async with loans.context.reader() as reader:
                seen.append(len(await reader.all(select(Book))))

        async with loans.context.transaction() as work:
            work.add(Book(title="Dune"))
            work.after_commit(look)
            await work.flush()
            assert seen == []

        assert seen == [1]

    async def test_cancelling_the_caller_does_not_interrupt_the_commit(self, loans: RunningService) -> None:
        async def add(title: str) -> None:
            async with loans.context.transaction() as work:
                work.add(Book(title=title))
                await work.flush()

        tasks = [asyncio.create_task(add(str(number))) for number in range(10)]
        for turns, task in enumerate(tasks):
            for _ in range(turns * 4):
                await asyncio.sleep(0)
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)

        assert {type(result) for result in results} <= {asyncio.CancelledError, type(None)}
        await loans.given(Book(title="the pool still works"))

    async def test_a_cancelled_statement_returns_its_connection(self, databases: Databases) -> None:
        async def add(loans: RunningService, title: str) -> None:
            async with loans.context.transaction() as work:
                await work.execute(insert(BOOKS), [a_row(title)])

        async with run_service(service, databases, background=False) as loans:
            tasks = [asyncio.create_task(add(loans, str(number))) for number in range(20)]
            for turns, task in enumerate(tasks):
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            pool: Any = loans.context.database.writer.pool

            assert {type(result) for result in results} <= {asyncio.CancelledError, type(None)}
            assert pool.checkedout() == 0
            await loans.given(Book(title="the pool still works"))

    async def test_concurrent_changes_of_one_row_are_all_kept(self, loans: RunningService) -> None:
        book = await loans.given(Book(title="0"))

        async def count_up() -> None:
            async with loans.context.transaction() as work:
                row = await Books(work).get(book.book_id, lock=True)
                row.title = str(int(row.title) + 1)

        await asyncio.gather(*(count_up() for _ in range(30)))

        async with loans.context.reader() as reader:
            assert (await Books(reader).get(book.book_id)).title == "30"


class TestReader:
    async def test_it_cannot_be_used_after_the_response(self, loans: RunningService) -> None:
        reader = Reader(loans.context.database, loans.clock)
        async with reader:
            await reader.execute(select(Book))

        with pytest.raises((SessionClosed, InvalidRequestError)):
            await reader.execute(select(Book))

    async def test_an_error_ends_the_transaction_of_a_snapshot(self, loans: RunningService) -> None:
        for _ in range(20):
            with suppress(LookupError):
                async with loans.context.reader() as reader, reader.snapshot() as snapshot:
                    await snapshot.all(select(Book))
                    raise LookupError

        async with loans.context.reader() as reader, reader.snapshot() as snapshot:
            assert await snapshot.all(select(Book)) == []

    async def test_a_snapshot_does_not_see_later_commits(self, loans: RunningService) -> None:
        async with loans.context.reader() as reader, reader.snapshot() as snapshot:
            before = len(await snapshot.all(select(Book)))
            await loans.given(Book(title="Dune"))
            during = len(await snapshot.all(select(Book.book_id)))

        async with loans.context.reader() as reader:
            after = len(await reader.all(select(Book)))
        assert (before, during, after) == (0, 0, 1)

    async def test_it_sees_concurrent_commits(self, loans: RunningService) -> None:
        async with loans.context.reader() as reader:
            assert await reader.all(select(Book.title)) == []
            await loans.given(Book(title="Dune"))
            assert await reader.all(select(Book.title)) == ["Dune"]

    async def test_it_holds_a_connection_only_while_a_statement_runs(self, databases: Databases) -> None:
        async with run_service(service, databases, background=False) as loans:  # which reads too
            await loans.given(Book(title="Dune"))
            readers = [loans.context.reader() for _ in range(40)]

            books = [await reader.one(select(Book)) for reader in readers]  # none of them is closed yet

            assert {book.title for book in books if book} == {"Dune"}
            assert loans.context.database.reader.pool.checkedout() == 0
            for reader in readers:
                await reader.close()


class TestWriteSkew:
    """Anomalies that SQLite's single writer prevents, on servers too."""

    async def test_a_limit_holds_for_concurrent_transactions(self, loans: RunningService) -> None:
        books = [Book(title=str(number)) for number in range(8)]
        await loans.given(*books)
        reader = loans.as_user()

        answers = await asyncio.gather(*(reader.post("/loans", json={"book_id": book.book_id}) for book in books))

        assert sorted(answer.status_code for answer in answers) == [201] * 3 + [409] * 5


class TestDatabase:
    async def test_ids_are_case_sensitive(self, loans: RunningService) -> None:
        book = await loans.given(Book(title="Dune"))

        async with loans.context.reader() as reader:
            assert await Books(reader).find(book.book_id.upper()) is None

    async def test_moments_keep_their_microseconds(self, loans: RunningService) -> None:
        moment = loans.clock.now().replace(microsecond=123457)
        book = await loans.given(Book(title="Dune", lent_until=moment))

        async with loans.context.reader() as reader:
            assert (await Books(reader).get(book.book_id)).lent_until == moment

    async def test_sqlite_enforces_foreign_keys_and_uses_wal(self, embedded_loans: RunningService) -> None:
        async with embedded_loans.context.database.writer.connect() as connection:
            keys = (await connection.execute(text("PRAGMA foreign_keys"))).scalar()
            mode = (await connection.execute(text("PRAGMA journal_mode"))).scalar()
        assert (keys, mode) == (1, "wal")
