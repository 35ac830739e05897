from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import Select, bindparam, insert, select, text, update
from sqlalchemy.exc import IntegrityError
from tests.examples.loans.ids import BookId
from tests.examples.loans.models import Book

from portico.kit.data.failures import is_duplicate
from portico.kit.data.statements import Prepared
from portico.kit.foundation.problems import Conflict
from portico.testing.running_service import RunningService

BOOKS: Any = Book.__table__
TITLED: Select[Any] = select(BOOKS).where(BOOKS.c.title == bindparam("title"))

ADD = Prepared(insert(BOOKS))
RENAME = Prepared(
    update(BOOKS).where(BOOKS.c.title == bindparam("old")).values(title=bindparam("new"), revision=BOOKS.c.revision + 1)
)


def a_row(title: str) -> dict[str, Any]:
    return {"book_id": BookId.new(), "title": title, "revision": 1}


class TestPrepared:
    async def test_gives_what_the_statement_gives(self, loans: RunningService) -> None:
        moment = loans.clock.now()
        await loans.given(Book(title="Dune", lent_until=moment), Book(title="Solaris"))

        async with loans.context.reader() as reader:
            plain = await reader.rows(TITLED, {"title": "Dune"})
        async with loans.context.reader() as reader:
            [row] = await Prepared(TITLED).rows(reader, {"title": "Dune"})

        assert tuple(row) == tuple(plain[0])
        assert (row.title, row.lent_until, type(row.lent_until)) == ("Dune", moment, datetime)
        assert type(row.book_id) is type(plain[0].book_id)

    async def test_may_be_run_again_with_other_values(self, loans: RunningService) -> None:
        await loans.given(Book(title="Dune"), Book(title="Solaris"))
        prepared = Prepared(TITLED)

        titles = []
        for title in ("Dune", "Solaris", "Ubik"):
            async with loans.context.reader() as reader:
                titles.append([row.title for row in await prepared.rows(reader, {"title": title})])

        assert titles == [["Dune"], ["Solaris"], []]

    async def test_takes_lists_of_any_length(self, loans: RunningService) -> None:
        await loans.given(Book(title="Dune"), Book(title="Solaris"))
        prepared = Prepared(select(BOOKS).where(BOOKS.c.title.in_(bindparam("titles"))))

        found = []
        for titles in (["Dune"], ["Dune", "Solaris", "Ubik"]):
            async with loans.context.reader() as reader:
                found.append({row.title for row in await prepared.rows(reader, {"titles": titles})})

        assert found == [{"Dune"}, {"Dune", "Solaris"}]

    async def test_sees_what_its_transaction_wrote(self, loans: RunningService) -> None:
        async with loans.context.transaction() as work:
            work.add(Book(title="Dune"))
            await work.flush()

            assert len(await Prepared(TITLED).rows(work, {"title": "Dune"})) == 1


class TestPreparedWrite:
    async def test_writes_in_the_transaction_of_its_unit(self, loans: RunningService) -> None:
        async def fail() -> None:
            async with loans.context.transaction() as work:
                await ADD.write(work, a_row("Dune"))
                assert await work.all(select(Book.title)) == ["Dune"]
                raise Conflict

        with pytest.raises(Conflict):
            await fail()

        async with loans.context.reader() as reader:
            assert await reader.all(select(Book)) == []

    async def test_tells_how_many_rows_it_changed(self, loans: RunningService) -> None:
        await loans.given(Book(title="Dune"))

        async with loans.context.transaction() as work:
            changed = [await RENAME.write(work, {"old": "Dune", "new": "Arrakis"}) for _ in range(2)]

        assert changed == [1, 0]

    async def test_counts_with_what_stands_in_the_statement(self, loans: RunningService) -> None:
        book = await loans.given(Book(title="Dune"))

        async with loans.context.transaction() as work:
            await RENAME.write(work, {"old": "Dune", "new": "Arrakis"})

        async with loans.context.reader() as reader:
            found = await reader.all(select(Book.revision))
        assert found == [book.revision + 1]

    async def test_writes_many_rows(self, loans: RunningService) -> None:
        async with loans.context.transaction() as work:
            await ADD.write_each(work, [a_row("Dune"), a_row("Solaris")])
            await ADD.write_each(work, [])

        async with loans.context.reader() as reader:
            assert set(await reader.all(select(Book.title))) == {"Dune", "Solaris"}

    async def test_moments_and_nulls_are_as_the_columns_have_them(self, loans: RunningService) -> None:
        moment = loans.clock.now().replace(microsecond=123457)

        async with loans.context.transaction() as work:
            await ADD.write(work, a_row("Dune") | {"lent_until": moment})
            await ADD.write(work, a_row("Solaris") | {"lent_until": None})

        async with loans.context.reader() as reader:
            assert set(await reader.all(select(Book.lent_until))) == {moment, None}

    async def test_a_row_that_an_index_refuses_is_an_integrity_error(self, loans: RunningService) -> None:
        await loans.given(Book(title="Dune"))

        async def add() -> None:
            async with loans.context.transaction() as work:
                await ADD.write(work, a_row("Dune"))

        with pytest.raises(IntegrityError) as refused:
            await add()

        assert is_duplicate(refused.value)


class TestAlone:
    @pytest.fixture
    def databases(self, postgresql_databases: Any) -> Any:
        return postgresql_databases

    async def test_is_committed_by_itself(self, loans: RunningService) -> None:
        await loans.given(Book(title="Dune"))

        changed = await RENAME.write_alone(loans.context.database, {"old": "Dune", "new": "Arrakis"})

        async with loans.context.reader() as reader:
            assert (changed, await reader.all(select(Book.title))) == (1, ["Arrakis"])

    async def test_the_next_on_its_connection_is_a_transaction_again(self, loans: RunningService) -> None:
        await ADD.write_alone(loans.context.database, a_row("Dune"))

        async def fail() -> None:
            async with loans.context.transaction() as work:
                await ADD.write(work, a_row("Solaris"))
                raise Conflict

        for _ in range(20):
            with pytest.raises(Conflict):
                await fail()

        async with loans.context.reader() as reader:
            assert await reader.all(select(Book.title)) == ["Dune"]


class TestADeadConnection:
    @pytest.fixture
    def databases(self, postgresql_databases: Any) -> Any:
        return postgresql_databases

    async def test_is_left_and_the_rows_are_read_by_another(self, loans: RunningService) -> None:
        await loans.given(Book(title="Dune"))
        prepared = Prepared(TITLED)
        async with loans.context.reader() as reader:
            await prepared.rows(reader, {"title": "Dune"})

        async with loans.context.database.writer.connect() as connection:
            await connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
        async with loans.context.reader() as reader:
            rows = await prepared.rows(reader, {"title": "Dune"})

        assert [row.title for row in rows] == ["Dune"]
