"""SQLite's driver, with one journey to the connection's thread for each statement."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

import aiosqlite
from sqlalchemy import URL

_PRAGMAS = ("busy_timeout=5000", "journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "cache_size=-8000")
_PATIENCE = 5.0  # seconds that a thread gets for what it is at


class Cursor:
    """A cursor as SQLAlchemy's adapter for asyncio uses it: rows come with the statement that finds them.

    aiosqlite goes to its thread to make a cursor, to execute, to fetch and to close: of a small statement nine tenths
    of the time are those journeys.
    """

    def __init__(self, connection: "SqliteConnection") -> None:
        self._connection = connection
        self._rows: list[Any] = []
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None
        self.arraysize = 1

    async def __aenter__(self) -> Self:
        return self

    async def execute(self, statement: str, values: Any = ()) -> Self:
        await self._connection.run(lambda driver: self._keep(driver.execute(statement, values)))
        return self

    async def executemany(self, statement: str, values: Iterable[Any]) -> Self:
        await self._connection.run(lambda driver: self._keep(driver.executemany(statement, values)))
        return self

    def _keep(self, found: sqlite3.Cursor) -> None:
        """Take all that `found` has, in its thread."""
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


class SqliteConnection(aiosqlite.Connection):
    """aiosqlite's connection and thread, with cursors of one journey, of which the first begins the transaction."""

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        super().__init__(connect, iter_chunk_size=1)
        self._thread.daemon = True  # a process that ends waits for no connection
        self._begin: str | None = None
        # False from when a statement sets out until it is back: whoever is cancelled hears no more of it.
        self._known = True

    def cursor(self) -> Cursor:  # type: ignore[override]  # without the journey that makes aiosqlite's awaitable
        return Cursor(self)

    def begin(self, how: str) -> None:
        """Begin a transaction by the statement `how`, together with the next statement."""
        self._begin = how

    async def run(self, act: Callable[[sqlite3.Connection], None]) -> None:
        """Do `act` in the connection's thread. Raises what it raises, and ValueError where the connection is closed."""
        self._known = False
        await self._execute(self._run, act)  # type: ignore[no-untyped-call]
        self._known = True

    def _run(self, act: Callable[[sqlite3.Connection], None]) -> None:
        if self._begin is not None:
            if self._conn.in_transaction:
                self._conn.rollback()  # a COMMIT that failed (disk full) leaves its transaction open
            self._conn.execute(self._begin).close()
            self._begin = None
        act(self._conn)

    async def commit(self) -> None:
        if self._known and not self.in_transaction:
            self._begin = None
        else:
            await super().commit()

    async def rollback(self) -> None:
        if not self._known or self.in_transaction:
            await super().rollback()  # behind whatever is still on its way
        self._begin, self._known = None, True

    @property
    def lives(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    async def end(self) -> None:
        """Close it, whoever uses it; whatever is on its way to its thread is done first. Returns when that has ended."""
        if self.lives:
            self.stop()
            await asyncio.to_thread(self._thread.join, _PATIENCE)


class SqliteConnections:
    """The connections of one engine to the file of `address`. They wait for locks, and begin no transaction themselves.

    A pool that is disposed of closes those which it has. What a cancelled task has not given back yet would be left to
    the collector, and its thread to the end of the process: `aclose` ends them all.
    """

    def __init__(self, address: URL) -> None:
        (self._path,), options = address.get_dialect()().create_connect_args(address)
        self._options: dict[str, Any] = {**options, "isolation_level": None}
        self._opened: set[SqliteConnection] = set()

    async def open(self) -> SqliteConnection:
        """A connection of its own. Raises sqlite3.Error."""
        self._opened = {each for each in self._opened if each.lives}
        connection = SqliteConnection(self._connect)
        self._opened.add(connection)
        await connection
        return connection

    async def aclose(self) -> None:
        """End every connection that is still open."""
        for each in self._opened:
            await each.end()

    def _connect(self) -> sqlite3.Connection:
        connection: sqlite3.Connection = sqlite3.connect(self._path, **self._options)
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}").close()
        return connection
