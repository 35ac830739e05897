"""Connections to SQLite, each with its own thread."""

import sqlite3
from typing import Any

from sqlalchemy import URL, Connection

from portico.kit._compat.aiosqlite import CONNECTION, OneTripConnection, SqliteConnection

_PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "cache_size=-8000")


class SqliteConnections:
    """Connections of one engine to the file of `address`. They wait for locks and begin no transactions implicitly.

    A pool that is disposed of closes only the connections that it holds. A connection that a cancelled task did not
    return would stay open until garbage collection, and its thread until the process ends. `aclose` closes all of them.

    Args:
        address: names the file.
        timeout: how long (seconds) a statement waits for a lock.
        kind: class of the connections.
    """

    def __init__(self, address: URL, *, timeout: float, kind: type[SqliteConnection] = CONNECTION) -> None:
        (self._path,), options = address.get_dialect()().create_connect_args(address)
        self._options: dict[str, Any] = {**options, "timeout": timeout, "isolation_level": None}
        self._kind = kind
        self._opened: set[SqliteConnection] = set()

    async def open(self) -> SqliteConnection:
        """Open a new connection. Raises sqlite3.Error."""
        self._opened = {each for each in self._opened if each.is_alive}
        connection = self._kind(self._connect)
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


def begin_transaction(connection: Connection, how: str) -> None:
    """Begin a transaction with `how`: together with its first statement if the connection supports that, else now."""
    driver: Any = connection.connection.driver_connection
    if isinstance(driver, OneTripConnection):
        driver.begin(how)
        return
    if driver.in_transaction:
        connection.exec_driver_sql("ROLLBACK")  # a failed COMMIT (disk full) leaves the transaction open
    connection.exec_driver_sql(how)
