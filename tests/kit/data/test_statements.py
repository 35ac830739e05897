from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, Select, Table, bindparam, event, exists, insert, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError
from tests.examples.loans import service
from tests.examples.loans.ids import BookId
from tests.examples.loans.models import Book

from portico.kit._compat import is_enabled
from portico.kit.data.failures import is_duplicate
from portico.kit.data.kit_tables import outbox
from portico.kit.data.statements import Statement, in_list
from portico.kit.data.types import Payload
from portico.kit.data.upsert import insert_or_ignore
from portico.kit.foundation.problems import Conflict
from portico.testing.databases import Databases
from portico.testing.running_service import RunningService, run_service

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

    async def test_finds_rows_among_the_values_of_a_list(self, loans: RunningService) -> None:
        books = [Book(title=each) for each in ("Dune", "Solaris", "Ubik")]
        await loans.given(*books)
        statement = Statement(select(BOOKS).where(in_list(BOOKS.c.book_id, "ids")).order_by(BOOKS.c.title))

        found = []
        for some in (books[:2], books[1:], books[:1] * 3, []):
            async with loans.context.reader() as reader:
                rows = await reader.rows(statement, {"ids": [each.book_id for each in some]})
            found.append([row.title for row in rows])

        assert found == [["Dune", "Solaris"], ["Solaris", "Ubik"], ["Dune"], []]
        is_compiled = statement.compiled_for(loans.context.database.reader.dialect, {"ids": []}) is not None
        is_array = loans.context.database.dialect == "postgresql" and is_enabled("sqlalchemy_compiled")
        assert is_compiled == is_array

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


class TestWriteAll:
    async def test_writes_every_row_in_order(self, loans: RunningService) -> None:
        rows = [a_row(f"Volume {number}") for number in range(5)]

        async with loans.context.transaction() as work:
            written = await work.write_all(ADD, rows)

        async with loans.context.reader() as reader:
            found = await reader.all(select(Book.title).order_by(Book.title))
        assert (written, found) == ([True] * 5, [f"Volume {number}" for number in range(5)])

    async def test_numbers_that_the_database_assigns_rise_in_the_given_order(self, loans: RunningService) -> None:
        rows = [
            {"event_id": f"e{n}", "type": "t", "aggregate": "a", "body": "{}", "occurred_at": loans.clock.now()}
            for n in (3, 1, 2)
        ]

        async with loans.context.transaction() as work:
            await work.write_all(Statement(insert(outbox).inline()), rows)
            found = await work.rows(select(outbox.c.event_id).order_by(outbox.c.id))

        assert [each.event_id for each in found] == ["e3", "e1", "e2"]

    async def test_tells_which_rows_an_update_changed(self, loans: RunningService) -> None:
        await loans.given(Book(title="Dune"), Book(title="Solaris"))
        renames = [{"old": "Dune", "new": "Arrakis"}, {"old": "Ubik", "new": "Gone"}, {"old": "Solaris", "new": "Sun"}]

        async with loans.context.transaction() as work:
            written = await work.write_all(RENAME, renames)

        async with loans.context.reader() as reader:
            found = await reader.rows(select(BOOKS.c.title, BOOKS.c.revision).order_by(BOOKS.c.title))
        assert written == [True, False, True]
        assert [tuple(each) for each in found] == [("Arrakis", 2), ("Sun", 2)]

    async def test_tells_which_rows_an_insert_left_out(self, loans: RunningService) -> None:
        known = a_row("Dune")
        statement = Statement(insert_or_ignore(BOOKS, loans.context.database.dialect))

        async with loans.context.transaction() as work:
            await work.write(ADD, known)
            new, same = a_row("Solaris"), a_row("Solaris")
            written = await work.write_all(statement, [known, new, same, new])

        assert written == [False, True, False, False]

    async def test_tells_which_rows_did_not_meet_the_condition_of_an_insert(self, loans: RunningService) -> None:
        await loans.given(Book(title="Dune"))
        names = ["book_id", "title", "revision"]
        values = [bindparam(f"new_{name}", type_=BOOKS.c[name].type) for name in names]
        is_free = ~exists().where(BOOKS.c.title == bindparam("beside"))
        statement = Statement(insert(BOOKS).from_select(names, select(*values).where(is_free), include_defaults=False))

        def row(title: str, beside: str) -> dict[str, Any]:
            return {f"new_{name}": value for name, value in a_row(title).items()} | {"beside": beside}

        async with loans.context.transaction() as work:
            written = await work.write_all(
                statement, [row("Solaris", "Emma"), row("Ubik", "Dune"), row("Momo", "Hamlet")]
            )

        async with loans.context.reader() as reader:
            found = await reader.all(select(Book.title).order_by(Book.title))
        assert (written, found) == ([True, False, True], ["Dune", "Momo", "Solaris"])

    async def test_a_single_row_and_no_row_are_written_too(self, loans: RunningService) -> None:
        async with loans.context.transaction() as work:
            written = [*await work.write_all(ADD, [a_row("Dune")]), *await work.write_all(ADD, [])]

        assert written == [True]

    async def test_converts_datetimes_and_nulls_as_the_columns_do(self, loans: RunningService) -> None:
        moment = loans.clock.now().replace(microsecond=123457)

        async with loans.context.transaction() as work:
            await work.write_all(ADD, [a_row("Dune") | {"lent_until": moment}, a_row("Solaris") | {"lent_until": None}])

        async with loans.context.reader() as reader:
            assert set(await reader.all(select(Book.lent_until))) == {moment, None}

    async def test_a_text_that_is_too_long_is_refused_instead_of_truncated(self, loans: RunningService) -> None:
        if loans.context.database.dialect == "sqlite":
            pytest.skip("SQLite does not limit the length of a text")

        async def add() -> None:
            async with loans.context.transaction() as work:
                await work.write_all(ADD, [a_row("Dune"), a_row("x" * 300)])

        with pytest.raises(DBAPIError):
            await add()

    async def test_a_failing_row_fails_all(self, loans: RunningService) -> None:
        async def add() -> None:
            async with loans.context.transaction() as work:
                await work.write_all(ADD, [a_row("Dune"), a_row("Dune")])

        with pytest.raises(IntegrityError) as refused:
            await add()

        async with loans.context.reader() as reader:
            assert (is_duplicate(refused.value), await reader.all(select(Book.title))) == (True, [])

    @pytest.mark.skipif(
        not is_enabled("sqlalchemy_compiled"), reason="without the fast path, rows are written one by one"
    )
    async def test_postgresql_takes_one_statement(self, postgresql_databases: Databases) -> None:
        async with run_service(service, postgresql_databases, background=False) as loans:
            texts: list[str] = []
            event.listen(
                loans.context.database.writer.sync_engine,
                "before_cursor_execute",
                lambda _connection, _cursor, text, *_: texts.append(text),
            )
            async with loans.context.transaction() as work:
                await work.write_all(ADD, [a_row(f"Volume {number}") for number in range(50)])

        assert [text.partition(" ")[0] for text in texts if "books" in text] == ["INSERT"]

    async def test_documents_are_written_as_documents(self, loans: RunningService) -> None:
        table = Table("documents", MetaData(), Column("number", Integer, primary_key=True), Column("body", Payload))
        rows = [{"number": 1, "body": [{"a": 1}, 2]}, {"number": 2, "body": {"b": [None]}}]

        async with loans.context.transaction() as work:
            await work.on_connection(table.create)
            await work.write_all(Statement(insert(table)), rows)
            found = await work.rows(select(table).order_by(table.c.number))

        assert [row.body for row in found] == [row["body"] for row in rows]


class TestWriteAlone:
    @pytest.fixture
    def databases(self, postgresql_databases: Any) -> Any:
        return postgresql_databases

    async def test_commits_at_once(self, loans: RunningService) -> None:
        await loans.given(Book(title="Dune"))

        changed = await loans.context.database.write_autocommit(RENAME, {"old": "Dune", "new": "Arrakis"})

        async with loans.context.reader() as reader:
            assert (changed, await reader.all(select(Book.title))) == (1, ["Arrakis"])

    async def test_its_connection_runs_transactions_again_afterwards(self, loans: RunningService) -> None:
        await loans.context.database.write_autocommit(ADD, a_row("Dune"))

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
