import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs
from tests.examples.loans import service
from tests.examples.loans.models import Book

from portico.kit.data.engine import Database
from portico.testing.databases import Databases
from portico.testing.running_service import run_service


class TestFailedCommit:
    async def test_does_not_block_the_next_transaction(self, sqlite_databases: Databases) -> None:
        def full(_connection: Any) -> None:
            raise sqlite3.OperationalError("database or disk is full")

        async with run_service(service, sqlite_databases, background=False) as loans:
            dialect = loans.context.database.writer.sync_engine.dialect
            commit = dialect.do_commit
            dialect.do_commit = full  # type: ignore[method-assign]
            with pytest.raises(OperationalError):
                await loans.given(Book(title="Dune"))
            dialect.do_commit = commit  # type: ignore[method-assign]

            await loans.given(Book(title="Solaris"))

            async with loans.context.reader() as reader:
                assert [row.title for row in await reader.rows(Book.__table__.select())] == ["Solaris"]


class TestClosing:
    async def test_closes_connections_still_in_use(self, tmp_path: Path) -> None:
        before = set(threading.enumerate())
        database = Database.connect(make_url(f"sqlite+aiosqlite:///{tmp_path}/books.db"))
        holding = await database.writer.connect()
        await holding.exec_driver_sql("SELECT 1")

        await database.aclose()

        new = set(threading.enumerate()) - before
        assert not [each.name for each in new if "_connection_worker_thread" in each.name]
        with pytest.raises(OperationalError, match=r"Connection closed|no active connection"):
            await holding.exec_driver_sql("SELECT 1")
        await holding.close()


class TestLogSql:
    async def test_logs_each_statement_without_its_values(self, databases: Databases) -> None:
        async with run_service(service, databases, variables={"LOG_SQL": "true"}, background=False) as loans:
            with capture_logs() as lines:
                book = await loans.given(Book(title="Dune"))
                await loans.anonymous.get(f"/books/{book.book_id}")

        statements = [line["statement"] for line in lines if line["event"] == "sql_executed"]
        assert any(statement.startswith("INSERT INTO books") for statement in statements)
        assert any(statement.startswith("SELECT books.book_id") for statement in statements)
        assert "Dune" not in str(statements)

    async def test_is_off_unless_it_is_set(self, sqlite_databases: Databases) -> None:
        async with run_service(service, sqlite_databases, background=False) as loans:
            with capture_logs() as lines:
                await loans.given(Book(title="Dune"))

        assert lines == []
