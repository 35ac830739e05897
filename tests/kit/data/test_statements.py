from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import Select, bindparam, insert, select, text, update
from sqlalchemy.exc import IntegrityError
from tests.examples.loans.ids import BookId
from tests.examples.loans.models import Book

from portico.kit.data.failures import is_duplicate
from portico.kit.data.statements import Statement
from portico.kit.foundation.problems import Conflict
from portico.testing.running_service import RunningService

BOOKS: Any = Book.__table__
TITLED: Select[Any] = select(BOOKS).where(BOOKS.c.title == bindparam("title"))

ADD = Statement(insert(BOOKS))
RENAME = Statement(
    update(BOOKS).where(BOOKS.c.title == bindparam("old")).values(title=bindparam("new"), revision=BOOKS.c.revision + 1)
)


def a_row(title: str) -> dict[str, Any]:
    return {"book_id": BookId.new(), "title": title, "revision": 1}


class TestRows:
    async def test_returns_the_rows_that_sqlalchemy_returns(self, loans: RunningService) -> None:
        moment = loans.clock.now()
        await loans.given(Book(title="Dune", lent_until=moment), Book(title="Solaris"))

        async with loans.context.reader() as reader:
            plain = await reader.rows(TITLED, {"title": "Dune"})
        async with loans.context.reader() as reader:
            [row] = await reader.rows(Statement(TITLED), {"title": "Dune"})

        assert tuple(row) == tuple(plain[0])
        assert (row.title, row.lent_until, type(row.lent_until)) == ("Dune", moment, datetime)
        assert type(row.book_id) is type(plain[0].book_id)

    async def test_can_be_executed_again_with_other_values(self, loans: RunningService) -> None:
        await loans.given(Book(title="Dune"), Book(title="Solaris"))
        statement = Statement(TITLED)

        titles = []
        for title in ("Dune", "Solaris", "Ubik"):
            async with loans.context.reader() as reader:
                titles.append([row.title for row in await reader.rows(statement, {"title": title})])

        assert titles == [["Dune"], ["Solaris"], []]

    async def test_accepts_lists_of_any_length(self, loans: RunningService) -> None:
        await loans.given(Book(title="Dune"), Book(title="Solaris"))
        statement = Statement(select(BOOKS).where(BOOKS.c.title.in_(bindparam("titles"))))

        found = []
        for titles in (["Dune"], ["Dune", "Solaris", "Ubik"]):
            async with loans.context.reader() as reader:
                found.append({row.title for row in await reader.rows(statement, {"titles": titles})})

        assert found == [{"Dune"}, {"Dune", "Solaris"}]

    async def test_reads_what_its_transaction_wrote(self, loans: RunningService) -> None:
        async with loans.context.transaction() as work:
            work.add(Book(title="Dune"))
            await work.flush()

            assert len(await work.rows(Statement(TITLED), {"title": "Dune"})) == 1


class TestWrite:
    async def test_is_rolled_back_with_its_unit_of_work(self, loans: RunningService) -> None:
        async def fail() -> None:
            async with loans.context.transaction() as work:
                await work.write(ADD, a_row("Dune"))
                assert await work.all(select(Book.title)) == ["Dune"]
                raise Conflict

        with pytest.raises(Conflict):
            await fail()

        async with loans.context.reader() as reader:
            assert await reader.all(select(Book)) == []

    async def test_returns_how_many_rows_it_changed(self, loans: RunningService) -> None:
        await loans.given(Book(title="Dune"))

        async with loans.context.transaction() as work:
            changed = [await work.write(RENAME, {"old": "Dune", "new": "Arrakis"}) for _ in range(2)]

        assert changed == [1, 0]

    async def test_a_statement_may_contain_constants_and_expressions(self, loans: RunningService) -> None:
        book = await loans.given(Book(title="Dune"))

        async with loans.context.transaction() as work:
            await work.write(RENAME, {"old": "Dune", "new": "Arrakis"})

        async with loans.context.reader() as reader:
            found = await reader.all(select(Book.revision))
        assert found == [book.revision + 1]

    async def test_write_each_writes_many_rows(self, loans: RunningService) -> None:
        async with loans.context.transaction() as work:
            await work.write_each(ADD, [a_row("Dune"), a_row("Solaris")])
            await work.write_each(ADD, [])

        async with loans.context.reader() as reader:
            assert set(await reader.all(select(Book.title))) == {"Dune", "Solaris"}

    async def test_converts_datetimes_and_nulls_as_the_columns_do(self, loans: RunningService) -> None:
        moment = loans.clock.now().replace(microsecond=123457)

        async with loans.context.transaction() as work:
            await work.write(ADD, a_row("Dune") | {"lent_until": moment})
            await work.write(ADD, a_row("Solaris") | {"lent_until": None})

        async with loans.context.reader() as reader:
            assert set(await reader.all(select(Book.lent_until))) == {moment, None}

    async def test_a_violated_unique_index_is_an_integrity_error(self, loans: RunningService) -> None:
        await loans.given(Book(title="Dune"))

        async def add() -> None:
            async with loans.context.transaction() as work:
                await work.write(ADD, a_row("Dune"))

        with pytest.raises(IntegrityError) as refused:
            await add()

        assert is_duplicate(refused.value)


class TestWriteAlone:
    @pytest.fixture
    def databases(self, postgresql_databases: Any) -> Any:
        return postgresql_databases

    async def test_commits_at_once(self, loans: RunningService) -> None:
        await loans.given(Book(title="Dune"))

        changed = await loans.context.database.write_alone(RENAME, {"old": "Dune", "new": "Arrakis"})

        async with loans.context.reader() as reader:
            assert (changed, await reader.all(select(Book.title))) == (1, ["Arrakis"])

    async def test_its_connection_runs_transactions_again_afterwards(self, loans: RunningService) -> None:
        await loans.context.database.write_alone(ADD, a_row("Dune"))

        async def fail() -> None:
            async with loans.context.transaction() as work:
                await work.write(ADD, a_row("Solaris"))
                raise Conflict

        for _ in range(20):
            with pytest.raises(Conflict):
                await fail()

        async with loans.context.reader() as reader:
            assert await reader.all(select(Book.title)) == ["Dune"]


class TestDeadConnection:
    @pytest.fixture
    def databases(self, postgresql_databases: Any) -> Any:
        return postgresql_databases

    async def test_the_read_is_repeated_on_another_connection(self, loans: RunningService) -> None:
        await loans.given(Book(title="Dune"))
        statement = Statement(TITLED)
        async with loans.context.reader() as reader:
            await reader.rows(statement, {"title": "Dune"})

        async with loans.context.database.writer.connect() as connection:
            await connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
        async with loans.context.reader() as reader:
            rows = await reader.rows(statement, {"title": "Dune"})

        assert [row.title for row in rows] == ["Dune"]
