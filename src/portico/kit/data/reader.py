"""The reader, which query functions receive."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from sqlalchemy import Engine, Executable, Result, Select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from portico.kit.data.engine import Database
from portico.kit.data.greenlets import run_in_greenlet
from portico.kit.data.statements import Statement
from portico.kit.foundation.clock import Clock

T = TypeVar("T")


class SessionClosed(RuntimeError):
    """The request has ended. A stream must read before it starts, or open its own reader."""


class Reader:
    """Reads a service's database. Each statement has its own snapshot, and holds a connection only while it runs.

    Work between two statements (hashing a password, calling another service) may be slow. If it held a connection, a
    few such requests would exhaust the pool. Rows are detached: once read, they do not change.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database = database
        self.clock = clock
        self._session: AsyncSession | None = None
        self._closed = False

    @property
    def now(self) -> datetime:
        """The current time, in UTC."""
        return self.clock.now()

    @property
    def session(self) -> AsyncSession:
        """SQLAlchemy's session, for operations that have no method here."""
        if self._session is None:
            self._check_open()
            self._session = self._new_session()
        return self._session

    def _check_open(self) -> None:
        if self._closed:
            raise SessionClosed("The request has ended. Read before streaming, or open a reader for the stream.")

    def _new_session(self) -> AsyncSession:
        return AsyncSession(self._engine(), expire_on_commit=False)

    def _engine(self) -> AsyncEngine:
        return self.database.reader

    async def execute(self, statement: Executable, parameters: Any = None) -> Result[Any]:
        result = await self.session.execute(statement, parameters)
        await self._release()
        return result

    async def _release(self) -> None:
        """Return the connection to the pool until the next statement."""
        if self._session is not None:
            await self._session.close()

    async def one(self, statement: Select[T]) -> T | None:
        """Return the first column of the only row, or None. Raises MultipleResultsFound."""
        return (await self.execute(statement)).scalars().one_or_none()

    async def all(self, statement: Select[T]) -> Sequence[T]:
        """Return the first column of every row."""
        return (await self.execute(statement)).scalars().all()

    @property
    def can_bypass_session(self) -> bool:
        """Whether a statement can bypass the session, because this reader has not used it."""
        return self._session is None and not self._closed

    async def rows(self, statement: Select[Any] | Statement, values: Mapping[str, Any] | None = None) -> Sequence[Any]:
        """Return all rows of a statement over columns of tables (`Book.__table__.c.title`), as named tuples.

        A single statement, as in most GET requests, bypasses the session and costs half as much.

        Args:
            statement: a select, or a compiled statement.
            values: values of its named parameters.
        """
        if isinstance(statement, Statement):
            return await self._rows_of_compiled(statement, values or {})
        if not self.can_bypass_session:
            return await self._rows_in_session(statement, values)
        engine = self._engine().sync_engine
        try:
            found: Sequence[Any] = await run_in_greenlet(_fetch_all, engine, statement, values)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            # The server had closed the pooled connection. SQLAlchemy has now discarded the whole pool.
            found = await run_in_greenlet(_fetch_all, engine, statement, values)
        return found

    async def _rows_of_compiled(self, statement: Statement, values: Mapping[str, Any]) -> Sequence[Any]:
        engine = self._engine()
        compiled = statement.compiled_for(engine.dialect, values)
        # SQLAlchemy's events log the statements, so `log_sql` needs SQLAlchemy.
        bypasses_sqlalchemy = self.can_bypass_session and not self.database.log_sql
        if compiled is not None and compiled.driver == "asyncpg" and bypasses_sqlalchemy:
            from portico.kit.data.asyncpg_records import fetch_records  # only where PostgreSQL is used

            records = await fetch_records(engine.sync_engine, compiled.text, compiled.parameters(values))
            if records is not None:
                return [compiled.to_row(record) for record in records]
        return await self.rows(cast("Select[Any]", statement.source), values)

    async def _rows_in_session(self, statement: Select[Any], values: Mapping[str, Any] | None) -> Sequence[Any]:
        found: Sequence[Any] = (await self.execute(statement, values)).all()
        return found

    async def get(self, table: type[T], key: Any, *, lock: bool = False) -> T | None:
        """Return the row of `table` with this primary key, or None. `lock` locks it until the transaction ends."""
        row = await self.session.get(table, key, with_for_update=True if lock else None)
        await self._release()
        return row

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator["Reader"]:
        """Open a reader whose statements all see the same snapshot, in one transaction."""
        async with self._engine().connect() as connection:
            if self.database.dialect == "sqlite":
                await connection.exec_driver_sql("BEGIN")  # otherwise the driver begins only at the first write
            else:
                await connection.execution_options(isolation_level="REPEATABLE READ")
            reader = _Snapshot(self.database, self.clock, connection)
            try:
                async with reader:
                    yield reader
            finally:
                if self.database.dialect == "sqlite":
                    await connection.exec_driver_sql("ROLLBACK")  # the driver does not know of this transaction
                else:
                    await connection.rollback()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Return the connection. The session cannot be used afterwards."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()


class _Snapshot(Reader):
    """A reader that keeps one connection until it is closed."""

    def __init__(self, database: Database, clock: Clock, connection: AsyncConnection) -> None:
        super().__init__(database, clock)
        self._session = AsyncSession(connection, expire_on_commit=False)

    @property
    def can_bypass_session(self) -> bool:
        return False

    async def _release(self) -> None:
        """Keep the connection, because it holds the snapshot."""


def _fetch_all(engine: Engine, statement: Select[Any], values: Mapping[str, Any] | None) -> Sequence[Any]:
    with engine.connect() as connection:
        return connection.execute(statement, values).all()
