"""A kept connection to a private server, which creates, copies and drops the databases of tests.

It belongs to an event loop in a thread of its own, because the event loop of a test ends with the test. The clients of
the servers (`psql`, `mariadb`) would start a process for each statement.
"""

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Coroutine
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import URL, make_url

from portico.servers import MariaDBServer, PostgreSQLServer

_CONNECT_TIMEOUT = 60  # seconds
_FIRST_WITH_STRATEGIES = 15  # version of PostgreSQL; earlier ones always copy files
_UNKNOWN_CONNECTION = 1094  # MariaDB: ER_NO_SUCH_THREAD
_MULTI_STATEMENTS = 1 << 16  # MySQL: CLIENT_MULTI_STATEMENTS

C = TypeVar("C")
T = TypeVar("T")


class ServerConnection(ABC, Generic[C]):
    """A kept connection to a server. Connects when it is first used, and again after the server has restarted."""

    def __init__(self, address: str) -> None:
        self._address: URL = make_url(address)
        self._connection: C | None = None
        self._lock = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="databases of tests")
        self._thread.start()

    def create(self, name: str) -> None:
        """Create the empty database `name`."""
        self._run(self._create(name))

    def copy(self, template: str, name: str) -> bool:
        """Create the database `name` as a copy of `template`, unless it exists. Return False if it cannot be copied."""
        return self._run(self._copy(template, name))

    def drop(self, prefix: str) -> None:
        """Drop the databases whose names start with `prefix`."""
        self._run(self._drop(prefix))

    def close(self) -> None:
        """Close the connection and end its thread."""
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        with self._lock:
            return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _opened(self) -> C:
        if self._connection is None or not self._is_open(self._connection):
            self._connection = await self._connect()
        return self._connection

    async def _close(self) -> None:
        if self._connection is not None:
            await self._end(self._connection)

    @abstractmethod
    async def _connect(self) -> C: ...

    @abstractmethod
    def _is_open(self, connection: C) -> bool: ...

    @abstractmethod
    def _end(self, connection: C) -> Awaitable[None]: ...

    @abstractmethod
    async def _create(self, name: str) -> None: ...

    @abstractmethod
    async def _copy(self, template: str, name: str) -> bool: ...

    @abstractmethod
    async def _drop(self, prefix: str) -> None: ...


class PostgreSQLConnection(ServerConnection[Any]):
    """A kept connection to PostgreSQL, which copies databases itself."""

    async def _connect(self) -> Any:
        import asyncpg

        return await asyncpg.connect(self._address.render_as_string(hide_password=False), timeout=_CONNECT_TIMEOUT)

    def _is_open(self, connection: Any) -> bool:
        return not connection.is_closed()

    async def _end(self, connection: Any) -> None:
        connection.terminate()

    async def _create(self, name: str) -> None:
        await (await self._opened()).execute(f'CREATE DATABASE "{name}"')

    async def _copy(self, template: str, name: str) -> bool:
        connection = await self._opened()
        if not await connection.fetchval("SELECT count(*) FROM pg_database WHERE datname = $1", name):
            # Copying files takes a sixth of the time of the default, which logs each page.
            strategy = " STRATEGY file_copy" if connection.get_server_version().major >= _FIRST_WITH_STRATEGIES else ""
            await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"{strategy}')
        return True

    async def _drop(self, prefix: str) -> None:
        """Drop databases, and close the connections to them."""
        connection = await self._opened()
        for row in await connection.fetch("SELECT datname FROM pg_database WHERE starts_with(datname, $1)", prefix):
            await connection.execute(f'DROP DATABASE "{row["datname"]}" WITH (FORCE)')


class MariaDBConnection(ServerConnection[Any]):
    """A kept connection to MariaDB. It copies a database by the statements that create its tables, sent together."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self._scripts: dict[str, str | None] = {}

    async def _connect(self) -> Any:
        import asyncmy  # installed only with the MySQL extra

        url = self._address
        return await asyncmy.connect(
            host=url.host,
            port=url.port,
            user=url.username,
            password=url.password,
            autocommit=True,
            connect_timeout=_CONNECT_TIMEOUT,
            client_flag=_MULTI_STATEMENTS,
        )

    def _is_open(self, connection: Any) -> bool:
        return bool(connection.connected)

    async def _end(self, connection: Any) -> None:
        connection.close()

    async def _create(self, name: str) -> None:
        await self._execute(f"CREATE DATABASE `{name}`")

    async def _copy(self, template: str, name: str) -> bool:
        if template not in self._scripts:
            self._scripts[template] = await self._script(template)
        script = self._scripts[template]
        if script is None:
            return False
        if not await self._rows("SELECT 1 FROM information_schema.schemata WHERE schema_name = %s", name):
            create = f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4; USE `{name}`; SET foreign_key_checks = 0; "
            await self._execute(f"{create}{script}SET foreign_key_checks = 1; USE mysql")
        return True

    async def _drop(self, prefix: str) -> None:
        """Drop databases, and end the connections to them: an open transaction would block the statement for a day."""
        for row in await self._rows("SELECT id FROM information_schema.processlist WHERE LOCATE(%s, db) = 1", prefix):
            await self._execute(f"KILL {int(row[0])}", ignored=_UNKNOWN_CONNECTION)
        found = await self._rows(
            "SELECT schema_name FROM information_schema.schemata WHERE LOCATE(%s, schema_name) = 1", prefix
        )
        for row in found:
            await self._execute(f"DROP DATABASE `{row[0]}`")

    async def _script(self, template: str) -> str | None:
        """Return the statements that create and fill the tables of `template`; None if it has more than tables."""
        if await self._rows(
            "SELECT 1 FROM information_schema.tables WHERE table_schema = %s AND table_type <> 'BASE TABLE' UNION ALL "
            "SELECT 1 FROM information_schema.triggers WHERE trigger_schema = %s UNION ALL "
            "SELECT 1 FROM information_schema.routines WHERE routine_schema = %s",
            template,
            template,
            template,
        ):
            return None
        statements = []
        for row in await self._rows(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = %s", template
        ):
            table = f"`{template}`.`{row[0]}`"
            statements.append((await self._rows(f"SHOW CREATE TABLE {table}"))[0][1])
            if await self._rows(f"SELECT 1 FROM {table} LIMIT 1"):  # noqa: S608  # a name of the test's own
                columns = await self._rows(
                    "SELECT column_name FROM information_schema.columns "
                    "WHERE table_schema = %s AND table_name = %s AND is_generated = 'NEVER'",
                    template,
                    row[0],
                )
                names = ", ".join(f"`{column}`" for (column,) in columns)
                statements.append(f"INSERT INTO `{row[0]}` ({names}) SELECT {names} FROM {table}")  # noqa: S608  # likewise
        return "".join(f"{each}; " for each in statements)

    async def _rows(self, statement: str, *values: str) -> list[Any]:
        async with (await self._opened()).cursor() as cursor:
            await cursor.execute(statement, values or None)
            return list(await cursor.fetchall())

    async def _execute(self, statements: str, *, ignored: int | None = None) -> None:
        from asyncmy.errors import MySQLError

        async with (await self._opened()).cursor() as cursor:
            try:
                await cursor.execute(statements)
                while await cursor.nextset():
                    pass
            except MySQLError as error:
                if error.args[0] != ignored:
                    raise


_connections: "WeakKeyDictionary[PostgreSQLServer | MariaDBServer, ServerConnection[Any]]" = WeakKeyDictionary()


def connection_to(server: PostgreSQLServer | MariaDBServer) -> ServerConnection[Any]:
    """Return the kept connection to a server. `close_connection` closes it."""
    if server not in _connections:
        kind = PostgreSQLConnection if isinstance(server, PostgreSQLServer) else MariaDBConnection
        _connections[server] = kind(server.url())
    return _connections[server]


def close_connection(server: object) -> None:
    """Close the kept connection to a server, if there is one."""
    connection = _connections.pop(server, None)  # type: ignore[call-overload]
    if connection is not None:
        connection.close()
