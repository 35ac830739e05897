import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from portico.kit._compat.aiosqlite import OneTripConnection
from portico.kit.data.sqlite import SqliteConnections

IMMEDIATE = "BEGIN IMMEDIATE"


async def opened(folder: Path) -> OneTripConnection:
    address = make_url(f"sqlite+aiosqlite:///{folder}/books.db")
    connection = await SqliteConnections(address, timeout=60, kind=OneTripConnection).open()
    assert isinstance(connection, OneTripConnection)
    return connection


@pytest.fixture
async def connection(tmp_path: Path) -> AsyncIterator[OneTripConnection]:
    connection = await opened(tmp_path)
    await connection.cursor().execute("CREATE TABLE books (number INTEGER PRIMARY KEY, title TEXT UNIQUE)")
    yield connection
    await connection.close()


@pytest.fixture
async def another(tmp_path: Path, connection: OneTripConnection) -> AsyncIterator[OneTripConnection]:  # its table
    another = await opened(tmp_path)
    yield another
    await another.close()


async def titles(connection: OneTripConnection) -> list[str]:
    found = await connection.cursor().execute("SELECT title FROM books ORDER BY number")
    return [title for (title,) in await found.fetchall()]


async def add(connection: OneTripConnection, title: str) -> None:
    await connection.cursor().execute("INSERT INTO books (title) VALUES (?)", (title,))


class TestCursor:
    async def test_returns_the_rows_of_a_returning_clause(self, connection: OneTripConnection) -> None:
        cursor = connection.cursor()

        await cursor.execute("INSERT INTO books (title) VALUES ('Dune'), ('Emma') RETURNING number, title")

        assert [name for name, *_ in cursor.description] == ["number", "title"]
        assert await cursor.fetchall() == [(1, "Dune"), (2, "Emma")]
        assert await cursor.fetchall() == []

    async def test_counts_the_rows_changed_by_executemany(self, connection: OneTripConnection) -> None:
        cursor = await connection.cursor().executemany("INSERT INTO books (title) VALUES (?)", [("Dune",), ("Emma",)])

        assert (cursor.rowcount, cursor.description) == (2, None)
        assert (await connection.cursor().execute("DELETE FROM books")).rowcount == 2

    async def test_returns_the_id_of_a_new_row(self, connection: OneTripConnection) -> None:
        cursor = await connection.cursor().execute("INSERT INTO books (number, title) VALUES (7, 'Kim')")

        assert cursor.lastrowid == 7


class TestTransaction:
    async def test_begins_with_its_first_statement(
        self, connection: OneTripConnection, another: OneTripConnection
    ) -> None:
        connection.begin(IMMEDIATE)
        await add(another, "Dune")  # nothing is locked yet
        await add(connection, "Emma")

        assert connection.in_transaction
        assert await titles(another) == ["Dune"]
        await connection.commit()
        assert await titles(another) == ["Dune", "Emma"]

    async def test_without_a_statement_does_not_begin(self, connection: OneTripConnection) -> None:
        connection.begin(IMMEDIATE)
        await connection.commit()
        connection.begin(IMMEDIATE)
        await connection.rollback()

        await add(connection, "Dune")

        assert not connection.in_transaction

    async def test_is_rolled_back_after_a_failed_statement(self, connection: OneTripConnection) -> None:
        await add(connection, "Dune")
        connection.begin(IMMEDIATE)
        await add(connection, "Emma")
        with pytest.raises(sqlite3.IntegrityError):
            await add(connection, "Dune")

        await connection.rollback()

        assert (connection.in_transaction, await titles(connection)) == (False, ["Dune"])

    async def test_is_rolled_back_after_a_cancelled_statement(self, connection: OneTripConnection) -> None:
        gate, reached = threading.Event(), threading.Event()

        def hold(_: sqlite3.Connection) -> None:
            reached.set()
            gate.wait(10)

        before = asyncio.create_task(connection.run(hold))
        await asyncio.to_thread(reached.wait, 10)
        connection.begin(IMMEDIATE)
        adding = asyncio.create_task(add(connection, "Dune"))
        await asyncio.sleep(0)
        adding.cancel()
        await asyncio.wait([adding])

        rolling_back = asyncio.create_task(connection.rollback())
        await asyncio.sleep(0)
        gate.set()
        await asyncio.wait([before, rolling_back])

        assert await titles(connection) == []
        assert not connection.in_transaction

    async def test_begins_again_after_an_unfinished_one(self, connection: OneTripConnection) -> None:
        connection.begin(IMMEDIATE)
        await add(connection, "Dune")

        connection.begin(IMMEDIATE)
        await add(connection, "Emma")
        await connection.commit()

        assert await titles(connection) == ["Emma"]


class TestClose:
    async def test_a_closed_connection_has_nothing_to_roll_back(self, connection: OneTripConnection) -> None:
        connection.begin(IMMEDIATE)
        await add(connection, "Dune")
        await connection.close_now()

        await connection.rollback()

        assert not connection.is_alive

    async def test_a_connection_that_its_engine_has_closed_can_be_closed_again(self, tmp_path: Path) -> None:
        connections = SqliteConnections(make_url(f"sqlite+aiosqlite:///{tmp_path}/books.db"), timeout=60)
        connection = await connections.open()
        await connections.aclose()

        async with asyncio.timeout(20):
            await connection.close()

        assert not connection.is_alive

    async def test_an_engine_can_close_a_connection_that_is_being_closed(self, tmp_path: Path) -> None:
        connections = SqliteConnections(make_url(f"sqlite+aiosqlite:///{tmp_path}/books.db"), timeout=60)
        connection = await connections.open()

        async with asyncio.timeout(20):
            await asyncio.gather(connection.close(), connections.aclose())

        assert not connection.is_alive
