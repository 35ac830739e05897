"""Private APIs of aiosqlite, written for aiosqlite 0.22.

A connection works in a thread of its own, for which aiosqlite has no public name. The kit makes it a daemon, so that a process
ends even if a connection was not closed, and waits for its end.

One fast path, `aiosqlite_cursor`: a statement and its rows take one trip to the thread.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

import aiosqlite

from portico.kit._compat import Library, is_enabled, require

_LIBRARY = Library("aiosqlite", "0.22")
_HAS_CURSOR = is_enabled("aiosqlite_cursor")

with _LIBRARY.shape():
    require(aiosqlite.Connection, "_thread", "stop")

if _HAS_CURSOR:
    with _LIBRARY.shape("aiosqlite_cursor"):
        require(aiosqlite.Connection, "_conn", "_execute", "in_transaction")

_JOIN_TIMEOUT = 5.0  # seconds to wait for a connection's thread to end


class SqliteConnection(aiosqlite.Connection):
    """aiosqlite's connection, whose thread does not keep the process alive."""

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        super().__init__(connect, iter_chunk_size=1)
        self._thread.daemon = True
        self._is_stopped = False

    @property
    def is_alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    def stop(self) -> asyncio.Future[Any] | None:
        """End the thread after the statements already sent to it. Later calls have no effect and return None.

        aiosqlite returns a future that never completes if the thread has ended.
        """
        if self._is_stopped:
            return None
        self._is_stopped = True
        return super().stop()

    async def close(self) -> None:
        """Close the connection after the statements already sent to it, unless it is being closed already."""
        if self.is_alive and (stopped := self.stop()) is not None:
            await stopped

    async def close_now(self) -> None:
        """Close the connection even if it is in use, after the statements already sent to its thread."""
        if self.is_alive:
            self.stop()
            await asyncio.to_thread(self._thread.join, _JOIN_TIMEOUT)


class OneTripConnection(SqliteConnection):
    """Connection whose cursors take one trip to the thread; a transaction begins with its first statement."""

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        super().__init__(connect)
        self._begin: str | None = None
        # False while a statement is in the thread: a cancelled caller does not learn its outcome.
        self._is_settled = True

    def cursor(self) -> "OneTripCursor":  # type: ignore[override]  # aiosqlite's takes a trip
        return OneTripCursor(self)

    def begin(self, how: str) -> None:
        """Begin a transaction by the statement `how`, together with the next statement."""
        self._begin = how

    async def run(self, act: Callable[[sqlite3.Connection], None]) -> None:
        """Run `act` in the connection's thread. Raises its exception, or ValueError if the connection is closed."""
        self._is_settled = False
        await self._execute(self._run, act)  # type: ignore[no-untyped-call]
        self._is_settled = True

    def _run(self, act: Callable[[sqlite3.Connection], None]) -> None:
        if self._begin is not None:
            if self._conn.in_transaction:
                self._conn.rollback()  # a failed COMMIT (disk full) leaves its transaction open
            self._conn.execute(self._begin).close()
            self._begin = None
        act(self._conn)

    async def commit(self) -> None:
        if self._is_settled and not self.in_transaction:
            self._begin = None
        else:
            await super().commit()

    async def rollback(self) -> None:
        if not self.is_alive:
            return  # closing it has rolled back
        if not self._is_settled or self.in_transaction:
            await super().rollback()  # after statements still in the thread
        self._begin, self._is_settled = None, True


class OneTripCursor:
    """Cursor as SQLAlchemy's asyncio adapter uses it: the rows come with the statement that finds them.

    aiosqlite goes to its thread to make a cursor, to execute, to fetch and to close it.
    """

    def __init__(self, connection: OneTripConnection) -> None:
        self._connection = connection
        self._rows: list[Any] = []
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None
        self.arraysize = 1

    async def __aenter__(self) -> Self:
        return self

    async def execute(self, statement: str, values: Any = ()) -> Self:
        await self._connection.run(lambda driver: self._fetch(driver.execute(statement, values)))
        return self

    async def executemany(self, statement: str, values: Iterable[Any]) -> Self:
        await self._connection.run(lambda driver: self._fetch(driver.executemany(statement, values)))
        return self

    def _fetch(self, found: sqlite3.Cursor) -> None:
        """Fetch the whole result in the connection's thread."""
        try:
            self.description = found.description
            self._rows = found.fetchall() if found.description else []
            self.rowcount, self.lastrowid = found.rowcount, found.lastrowid
        finally:
            found.close()

    async def fetchall(self) -> Sequence[Any]:
        rows, self._rows = self._rows, []
        return rows

    async def close(self) -> None:
        self._rows = []


CONNECTION: type[SqliteConnection] = OneTripConnection if _HAS_CURSOR else SqliteConnection
"""The class of an engine's connections."""
