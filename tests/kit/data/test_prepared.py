from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import Select, bindparam, select, text
from tests.examples.loans.models import Book

from portico.kit.data.prepared import Prepared
from portico.kit.testing.running import RunningService

BOOKS: Any = Book.__table__
TITLED: Select[Any] = select(BOOKS).where(BOOKS.c.title == bindparam("title"))


def prepared_for(loans: RunningService) -> Prepared:
    return Prepared(TITLED, loans.running.database.reader.dialect)


class TestPrepared:
    async def test_gives_what_the_statement_gives(self, loans: RunningService) -> None:
        moment = loans.clock.now()
        await loans.given(Book(title="Dune", lent_until=moment), Book(title="Solaris"))

        async with loans.running.reader() as reader:
            plain = await reader.rows(TITLED, {"title": "Dune"})
        async with loans.running.reader() as reader:
            [row] = await prepared_for(loans).rows(reader, {"title": "Dune"})

        assert tuple(row) == tuple(plain[0])
        assert (row.title, row.lent_until, type(row.lent_until)) == ("Dune", moment, datetime)
        assert type(row.book_id) is type(plain[0].book_id)

    async def test_may_be_run_again_with_other_values(self, loans: RunningService) -> None:
        await loans.given(Book(title="Dune"), Book(title="Solaris"))
        prepared = prepared_for(loans)

        titles = []
        for title in ("Dune", "Solaris", "Ubik"):
            async with loans.running.reader() as reader:
                titles.append([row.title for row in await prepared.rows(reader, {"title": title})])

        assert titles == [["Dune"], ["Solaris"], []]

    async def test_takes_lists_of_any_length(self, loans: RunningService) -> None:
        await loans.given(Book(title="Dune"), Book(title="Solaris"))
        prepared = Prepared(
            select(BOOKS).where(BOOKS.c.title.in_(bindparam("titles"))), loans.running.database.reader.dialect
        )

        found = []
        for titles in (["Dune"], ["Dune", "Solaris", "Ubik"]):
            async with loans.running.reader() as reader:
                found.append({row.title for row in await prepared.rows(reader, {"titles": titles})})

        assert found == [{"Dune"}, {"Dune", "Solaris"}]

    async def test_sees_what_its_transaction_wrote(self, loans: RunningService) -> None:
        async with loans.running.transaction() as work:
            work.add(Book(title="Dune"))
            await work.flush()

            assert len(await prepared_for(loans).rows(work, {"title": "Dune"})) == 1


class TestADeadConnection:
    @pytest.fixture
    def databases(self, postgresql_databases: Any) -> Any:
        return postgresql_databases

    async def test_is_left_and_the_rows_are_read_by_another(self, loans: RunningService) -> None:
        await loans.given(Book(title="Dune"))
        prepared = prepared_for(loans)
        async with loans.running.reader() as reader:
            await prepared.rows(reader, {"title": "Dune"})

        async with loans.running.database.writer.connect() as connection:
            await connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
        async with loans.running.reader() as reader:
            rows = await prepared.rows(reader, {"title": "Dune"})

        assert [row.title for row in rows] == ["Dune"]
