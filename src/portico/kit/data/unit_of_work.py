"""The unit of work: the transaction that a use case receives."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Protocol, Self, TypeVar

from sqlalchemy import Connection, CursorResult, Executable, Result
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from portico.kit._compat.sqlalchemy import needs_session
from portico.kit.data.engine import Database
from portico.kit.data.failures import is_duplicate
from portico.kit.data.greenlets import run_in_greenlet
from portico.kit.data.reader import Reader
from portico.kit.data.statements import Statement
from portico.kit.foundation.aio import run_to_completion
from portico.kit.foundation.clock import Clock
from portico.kit.foundation.problems import Problem
from portico.kit.telemetry.context import current_trace

T = TypeVar("T")
P = ParamSpec("P")

Invalidate = Callable[[str], Awaitable[None]]
"""Function that removes all cached responses with the tag of this name."""

current_unit_of_work: ContextVar["UnitOfWork | None"] = ContextVar("current_unit_of_work", default=None)
"""Unit of work of the current task. Calls to other services fail while its transaction is open."""


class PublishableEvent(Protocol):
    """The part of an event that a unit of work uses: its id and the id of its aggregate."""

    @property
    def message_id(self) -> str: ...

    @property
    def aggregate_id(self) -> str: ...


class NotPublished(TypeError):
    """A service publishes an event that it does not declare, or one that is too large."""


@dataclass(frozen=True, slots=True)
class Publication:
    """A published event with its trace and the time of its unit of work."""

    event: Any
    trace: str | None
    at: datetime


class EventSink(Protocol):
    """Stores the events of a unit of work in its transaction. The messaging outbox implements it."""

    def check(self, event: Any) -> None:
        """Raise NotPublished if the service does not declare events of this type."""

    async def write(self, work: "UnitOfWork", publications: Sequence[Publication]) -> None:
        """Write the events in the transaction of `work`, in order. Raises NotPublished if one is too large."""

    def on_commit(self) -> None:
        """Notify the sink that the transaction with the events is committed."""


class CacheTagged(Protocol):
    """Name of the cached responses that a change invalidates. The cache's `CacheTag` implements it."""

    @property
    def name(self) -> str: ...


class UnitOfWork(Reader):
    """One transaction. Its first statement begins it, so validation before that holds no lock.

    Use cases add rows, change rows and publish events. The opener (HTTP boundary, consumer or job) commits. Statements
    over tables bypass the session, because the session costs more than most statements. Both share one connection.

    Args:
        database: the service's database.
        clock: the current time.
        invalidate: removes cached responses after the commit; None for a service without a cache.
        events: stores published events; None if the unit cannot publish.
    """

    def __init__(
        self, database: Database, clock: Clock, *, invalidate: Invalidate | None = None, events: EventSink | None = None
    ) -> None:
        super().__init__(database, clock)
        self._now = clock.now()
        self._invalidate = invalidate
        self._invalidated: set[str] = set()
        self._after_commit: list[Callable[[], Any]] = []
        self._sink = events
        self._publications: list[Publication] = []
        self._connection: Connection | None = None
        self.committing = False
        self._token: Token[UnitOfWork | None] | None = None

    @property
    def now(self) -> datetime:
        """The time at which this unit began, in UTC: the same for everything it writes."""
        return self._now

    @property
    def can_bypass_session(self) -> bool:
        return False

    async def _release(self) -> None:
        """Keep the connection until the transaction ends."""

    @property
    def has_begun(self) -> bool:
        """Whether a transaction is open."""
        if self._connection is not None and self._connection.in_transaction():
            return True
        return self._session is not None and self._session.in_transaction()

    @property
    def holds_state(self) -> bool:
        """Whether the session has rows or a savepoint."""
        session = self._session
        return session is not None and bool(session.in_nested_transaction() or session.identity_map or session.new)

    def _engine(self) -> AsyncEngine:
        return self.database.writer

    def _new_session(self) -> AsyncSession:
        return AsyncSession(sync_session_class=_Session, connected=self._connect, expire_on_commit=False)

    def _connect(self) -> Connection:
        """Return the connection of this unit. Call this only in a greenlet, like other blocking SQLAlchemy calls."""
        if self._connection is None:
            self._check_open()
            self._connection = self._engine().sync_engine.connect()
        return self._connection

    async def execute(self, statement: Executable, parameters: Any = None) -> Result[Any]:
        if needs_session(statement):
            return await super().execute(statement, parameters)
        return await self.on_connection(Connection.execute, statement, parameters)

    async def on_connection(self, act: Callable[Concatenate[Connection, P], T], *args: P.args, **named: P.kwargs) -> T:
        """Call `act` with SQLAlchemy's connection of this unit, which the session shares, and return its result."""
        return await run_in_greenlet(lambda: act(self._connect(), *args, **named))

    async def write(self, statement: Statement, values: Mapping[str, Any]) -> int:
        """Execute a compiled statement and return how many rows it changed. Raises what `execute` raises."""
        return (await self._write(statement, [values])).rowcount

    async def write_each(self, statement: Statement, rows: Sequence[Mapping[str, Any]]) -> None:
        """Execute a compiled statement for each of `rows` like `write_all`, but return nothing."""
        batch = None if len(rows) <= 1 else statement.batch_for(self.database.writer.dialect, rows[0])
        if batch is not None:
            await self.on_connection(Connection.exec_driver_sql, batch.text, batch.parameters(rows))
        elif rows:
            await self._write(statement, rows)

    async def write_all(self, statement: Statement, rows: Sequence[Mapping[str, Any]]) -> Sequence[bool]:
        """Write many rows and return for each whether it was written.

        PostgreSQL writes all rows in one statement; an INSERT writes them in the given order. Other databases write
        them one by one. A failing row fails the transaction.

        Args:
            statement: an INSERT, which may ignore existing rows, or an UPDATE of at most one row.
            rows: the values of each row. All have the same names. An UPDATE must not change the same row twice.

        Raises:
            Exception: what `execute` raises.
        """
        batch = None if len(rows) <= 1 else statement.batch_for(self.database.writer.dialect, rows[0])
        if batch is None:
            return [await self.write(statement, row) > 0 for row in rows]
        parameters = batch.parameters(rows)
        result = await self.on_connection(Connection.exec_driver_sql, batch.text, parameters)
        return batch.written(parameters, () if batch.keys is None else result.all(), len(rows))

    async def _write(self, statement: Statement, rows: Sequence[Mapping[str, Any]]) -> CursorResult[Any]:
        compiled = statement.compiled_for(self.database.writer.dialect, rows[0])
        if compiled is None:
            return await self.on_connection(Connection.execute, statement.source, rows)
        parameters = [compiled.parameters(row) for row in rows]
        return await self.on_connection(Connection.exec_driver_sql, compiled.text, parameters)

    def add(self, row: object) -> None:
        self.session.add(row)

    def add_all(self, rows: Iterable[object]) -> None:
        self.session.add_all(rows)

    async def delete(self, row: object) -> None:
        await self.session.delete(row)

    async def flush(self, *, duplicate: Problem | None = None) -> None:
        """Write pending changes. Raises `duplicate`, if given, when a unique index rejects a row."""
        if self._session is None:
            return
        try:
            await self.session.flush()
        except IntegrityError as error:
            if duplicate is not None and is_duplicate(error):
                raise duplicate from error
            raise

    async def flush_and_expunge(self) -> None:
        """Write pending changes and expunge loaded rows, so that the next part of a batch reads them again."""
        if self._session is not None:
            await self.flush()
            self._session.expunge_all()

    async def insert(self, row: object, *, duplicate: Problem) -> None:
        """Add `row` and write it immediately. Raises `duplicate` when a unique index rejects it.

        The index decides, because two concurrent callers would both see the value as free.
        """
        await self.flush()  # so that earlier changes raise their own errors
        self.session.add(row)
        await self.flush(duplicate=duplicate)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Open a savepoint. An exception rolls back only the block, and the unit continues."""
        published = len(self._publications)
        try:
            async with self.session.begin_nested():
                await self.session.connection()  # creates the savepoint now, not at the session's next statement
                yield
        except BaseException:
            del self._publications[published:]
            raise

    def publish(self, event: PublishableEvent) -> None:
        """Publish `event` after the commit. It is stored in the outbox in the same transaction.

        Raises:
            NotPublished: the service does not declare events of this type.
        """
        if self._sink is None:
            raise NotPublished("This unit of work was opened without an outbox, so it cannot publish events.")
        self._sink.check(event)
        self._publications.append(Publication(event, current_trace(), self._now))

    def adopt(self, publications: Iterable[Publication]) -> None:
        """Publish the events of other units of work that are committed with this one."""
        self._publications.extend(publications)

    @property
    def published(self) -> Sequence[PublishableEvent]:
        """The events published in this unit, in order."""
        return [each.event for each in self._publications]

    def after_commit(self, act: Callable[[], Any]) -> None:
        """Call `act` after the commit and before the response. An awaitable result is awaited.

        The call is lost if the process dies, so use it only for work such as cache invalidation. Otherwise publish an
        event.
        """
        self._after_commit.append(act)

    def invalidate(self, tag: CacheTagged) -> None:
        """Remove the cached responses with this tag after the commit."""
        self._invalidated.add(tag.name)

    def changes(self, subject: str) -> None:
        """Wake the tasks of this process that follow `subject`, after the commit."""
        self._after_commit.append(partial(self.database.change_notifier.notify, subject))

    async def commit(self) -> None:
        """Write pending changes and commit. A cancellation during the commit takes effect after it."""
        if self._publications and self._sink is not None:
            # After the flush, which locks the aggregate's row, so that ids of its events increase in commit order.
            await self.flush()
            await self._sink.write(self, self._publications)
            self._after_commit.append(self._sink.on_commit)
        await self.flush()
        self.committing = self.has_begun
        if self.committing or self._invalidated or self._after_commit:
            await run_to_completion(self._commit())  # a cancellation would close the session during the commit

    async def _commit(self) -> None:
        if self.committing:
            await run_in_greenlet(self._commit_connection)
        if self._invalidate is not None:
            for name in self._invalidated:
                await self._invalidate(name)
        for act in self._after_commit:
            result = act()
            if result is not None:
                await result

    def _commit_connection(self) -> None:
        if self._session is not None:
            self._session.sync_session.commit()
        connection, self._connection = self._connection, None
        if connection is not None:
            with connection:
                connection.commit()

    async def close(self) -> None:
        try:
            await super().close()
        finally:
            connection, self._connection = self._connection, None
            if connection is not None:
                await run_in_greenlet(connection.close)

    async def __aenter__(self) -> Self:
        self._token = current_unit_of_work.set(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            current_unit_of_work.reset(self._token)
        await super().__aexit__(kind, error, trace)


class _Session(Session):
    """A session on the connection of its unit of work. The first statement opens it."""

    def __init__(self, *, connected: Callable[[], Connection], **options: Any) -> None:
        super().__init__(**options)
        self._connect = connected

    def get_bind(self, *_: Any, **__: Any) -> Connection:
        return self._connect()


@asynccontextmanager
async def commit_on_exit(work: UnitOfWork) -> AsyncIterator[UnitOfWork]:
    """Commit `work` at the end of the block, or roll it back if the block raises."""
    async with work:
        yield work
        await work.commit()
