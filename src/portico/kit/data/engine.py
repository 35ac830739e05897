"""The engines of one service's database: one for writing and one for reading."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Self

import orjson
from sqlalchemy import URL, Connection, ExceptionContext, delete, event, insert, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from portico.kit.data.change_notifier import ChangeNotifier
from portico.kit.data.failures import is_storage_full
from portico.kit.data.greenlets import run_in_greenlet
from portico.kit.data.kit_tables import idempotency_keys
from portico.kit.data.pool import FairPool
from portico.kit.data.sqlite import SqliteConnections, begin_transaction
from portico.kit.data.statements import Statement
from portico.kit.data.timeouts import CONNECT_TIMEOUT, connect_options
from portico.kit.data.totals import LongLists
from portico.kit.telemetry.logs import get_logger

logger = get_logger(__name__)

_TRIED_BYTES = 16_384  # several pages of every database

_SQLITE_READERS = 5  # one of them is kept for background work
_NOTHING_TO_ROLL_BACK: dict[str, Any] = {"pool_reset_on_return": None, "skip_autocommit_rollback": True}
"""Engine options for connections that autocommit."""


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Limits of a connection pool.

    size: number of connections.
    wait: how long (seconds) a caller waits for a connection before a 503.
    connect_timeout: how long (seconds) a new connection to a server may take.
    """

    size: int = 10
    wait: float = 5.0
    connect_timeout: float = CONNECT_TIMEOUT


class Database:
    """The engines of one service's database.

    `writer` begins transactions at READ COMMITTED (SQLite: BEGIN IMMEDIATE on the only writing connection). `reader`
    autocommits each statement, because BEGIN and COMMIT around a single read are half of its cost.
    """

    def __init__(
        self,
        writer: AsyncEngine,
        reader: AsyncEngine,
        *,
        files: Sequence[SqliteConnections] = (),
        log_sql: bool = False,
    ) -> None:
        self._files = files
        self.log_sql = log_sql
        self.writer = writer
        self.reader = reader
        self.dialect = writer.dialect.name
        self.change_notifier = ChangeNotifier()
        self.long_lists = LongLists()
        self._is_full = False  # whether a write failed for lack of space and none was tried since
        event.listen(writer.sync_engine, "handle_error", self._notice_full_storage)
        if log_sql:
            for engine in (writer, reader):
                event.listen(engine.sync_engine, "before_cursor_execute", _log_statement)
        self.wakeups: dict[str, Callable[[], None]] = {}
        """Callbacks that wake a background task of this process after a commit, by name."""

    def wake(self, name: str) -> None:
        """Call the callback of this name, if this process has one."""
        if (wakeup := self.wakeups.get(name)) is not None:
            wakeup()

    @classmethod
    def connect(
        cls,
        address: URL,
        *,
        replica: URL | None = None,
        schema: str | None = None,
        pools: PoolLimits | None = None,
        log_sql: bool = False,
    ) -> Self:
        """Create the engines for `address`, which names an async driver. No connection is opened yet.

        Args:
            address: the database.
            replica: a database to read from instead, if any.
            schema: the PostgreSQL schema of the tables.
            pools: limits of the connection pools.
            log_sql: whether each statement is logged, without its values.
        """
        limits = pools or PoolLimits()
        if address.get_backend_name() == "sqlite":
            writing, reading = (SqliteConnections(address, timeout=limits.wait) for _ in range(2))
            return cls(
                _sqlite(address, writing, "BEGIN IMMEDIATE", 1, limits),
                _sqlite(address, reading, None, _SQLITE_READERS, limits),
                files=(writing, reading),
                log_sql=log_sql,
            )
        arguments = _server_arguments(address, schema, limits.connect_timeout)
        writer = create_async_engine(
            address,
            isolation_level="READ COMMITTED",
            connect_args=arguments,
            json_deserializer=orjson.loads,
            **_pool(limits.size, limits),
        )
        reader = create_async_engine(
            replica or address,
            isolation_level="AUTOCOMMIT",
            connect_args=arguments,
            json_deserializer=orjson.loads,
            **_NOTHING_TO_ROLL_BACK,
            **_pool(limits.size, limits),
        )
        return cls(writer, reader, log_sql=log_sql)

    @cached_property
    def autocommit_writer(self) -> AsyncEngine:
        """`writer` of a PostgreSQL database in autocommit mode, for single statements."""
        return self.writer.execution_options(isolation_level="AUTOCOMMIT")

    @property
    def has_row_locks(self) -> bool:
        """Whether the database has SELECT … FOR UPDATE. SQLite needs none, because it has one writer."""
        return self.dialect != "sqlite"

    async def write_autocommit(self, statement: Statement, values: Mapping[str, Any]) -> int:
        """Execute one statement in its own transaction and return how many rows it changed.

        On PostgreSQL this needs no BEGIN and COMMIT, which are half of the cost.
        """
        return await run_in_greenlet(self._write_autocommit, statement, values)

    def _write_autocommit(self, statement: Statement, values: Mapping[str, Any]) -> int:
        # MariaDB's driver switches autocommit with a statement. A cancellation during it would lose the connection.
        autocommits = self.dialect == "postgresql"
        compiled = statement.compiled_for(self.writer.dialect, values)
        with (
            self.autocommit_writer.sync_engine.connect()
            if autocommits
            else self.writer.sync_engine.begin() as connection
        ):
            if compiled is None:
                return connection.execute(statement.source, values).rowcount
            return connection.exec_driver_sql(compiled.text, compiled.parameters(values)).rowcount

    async def check(self) -> None:
        """Check that the database responds, and can be written to if a write has failed for lack of space.

        Raises the driver's error.
        """
        async with self.reader.connect() as connection:
            await connection.execute(text("SELECT 1"))
        if self._is_full:
            await self._try_to_write()
            self._is_full = False

    async def _try_to_write(self) -> None:
        """Write several pages and delete them again. A small row might fit although larger writes fail."""
        key, body = secrets.token_hex(32), secrets.token_hex(_TRIED_BYTES // 2)
        row = {"key": key, "fingerprint": "", "claimed_at": datetime.fromtimestamp(0, UTC), "body": body}
        async with self.writer.begin() as connection:
            await connection.execute(insert(idempotency_keys), row)
            await connection.execute(delete(idempotency_keys).where(idempotency_keys.c.key == key))

    def _notice_full_storage(self, context: ExceptionContext) -> None:
        error = context.sqlalchemy_exception
        if error is not None and is_storage_full(error):
            self._is_full = True

    async def aclose(self) -> None:
        await self.writer.dispose()
        if self.reader is not self.writer:
            await self.reader.dispose()
        for each in self._files:
            await each.aclose()


def _pool(size: int, limits: PoolLimits) -> dict[str, Any]:
    return {
        "poolclass": FairPool,
        "pool_size": size,
        "max_overflow": 0,
        "pool_timeout": limits.wait,
        "hide_parameters": True,
    }


def _server_arguments(address: URL, schema: str | None, connect_timeout: float) -> dict[str, Any]:
    if address.get_backend_name() != "postgresql":
        return {"init_command": "SET SESSION time_zone = '+00:00'", **connect_options(address, connect_timeout)}
    settings = {"timezone": "UTC", "application_name": "portico"}
    if schema is not None:
        settings["search_path"] = f'"{schema}"'
    return {"server_settings": settings, **connect_options(address, connect_timeout)}


def _sqlite(
    address: URL, connections: SqliteConnections, begin: str | None, size: int, limits: PoolLimits
) -> AsyncEngine:
    """Create an engine that begins transactions explicitly.

    By default the driver begins a transaction at the first write, after the reads that the write depends on. Of a
    hundred concurrent read-modify-writes, ninety-eight would be lost without an error.
    """
    engine = create_async_engine(
        address,
        async_creator=connections.open,
        isolation_level=None if begin else "AUTOCOMMIT",
        json_deserializer=orjson.loads,
        **({} if begin else _NOTHING_TO_ROLL_BACK),
        **_pool(size, limits),
    )

    if begin:
        event.listen(engine.sync_engine, "begin", lambda connection: begin_transaction(connection, begin))
    return engine


def _log_statement(_connection: Connection, _cursor: Any, statement: str, *_others: Any) -> None:
    logger.info("sql_executed", statement=" ".join(statement.split()))
