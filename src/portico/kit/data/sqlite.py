"""SQLite driver that switches to the connection's thread once per statement."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

import aiosqlite
from sqlalchemy import URL

_PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "cache_size=-8000")
_JOIN_TIMEOUT = 5.0  # seconds to wait for a connection's thread to end


class Cursor:
    """A cursor as SQLAlchemy's asyncio adapter uses it. It fetches the rows together with the statement.

    aiosqlite switches to its thread to create a cursor, to execute, to fetch and to close. Nine tenths of the time of a
    small statement are these switches.
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


class SqliteConnection(aiosqlite.Connection):
    """aiosqlite's connection and thread. A statement needs one thread switch, even if it begins the transaction."""

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        super().__init__(connect, iter_chunk_size=1)
        self._thread.daemon = True  # does not keep the process alive
        self._begin: str | None = None
        # False while a statement is in the thread: a cancelled caller does not learn its outcome.
        self._is_settled = True

    def cursor(self) -> Cursor:  # type: ignore[override]  # aiosqlite's needs a thread switch
        return Cursor(self)

    def begin(self, how: str) -> None:
        """Begin a transaction with the statement `how`, together with the next statement."""
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
        if not self._is_settled or self.in_transaction:
            await super().rollback()  # after statements still in the thread
        self._begin, self._is_settled = None, True

    @property
    def is_alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    async def close_now(self) -> None:
        """Close the connection even if it is in use, after the statements already sent to its thread."""
        if self.is_alive:
            self.stop()
            await asyncio.to_thread(self._thread.join, _JOIN_TIMEOUT)


class SqliteConnections:
    """Connections of one engine to the file of `address`. They wait for locks and begin no transactions implicitly.

    Disposing of a pool closes its own connections. A connection that a cancelled task has not returned would remain
    open until garbage collection, and its thread until the process ends. `aclose` closes all of them.
    """

    def __init__(self, address: URL, *, timeout: float) -> None:
        (self._path,), options = address.get_dialect()().create_connect_args(address)
        self._options: dict[str, Any] = {**options, "timeout": timeout, "isolation_level": None}
        self._opened: set[SqliteConnection] = set()

    async def open(self) -> SqliteConnection:
        """Open a new connection. Raises sqlite3.Error."""
        self._opened = {each for each in self._opened if each.is_alive}
        connection = SqliteConnection(self._connect)
        self._opened.add(connection)
        await connection
        return connection

    async def aclose(self) -> None:
        """Close all open connections."""
        for each in self._opened:
            await each.close_now()

    def _connect(self) -> sqlite3.Connection:
        connection: sqlite3.Connection = sqlite3.connect(self._path, **self._options)
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}").close()
        return connection
