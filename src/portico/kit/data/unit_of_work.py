"""The unit of work that commands are given."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar, Token
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Protocol, Self, TypeVar

from sqlalchemy import Connection, CursorResult, Executable, Result
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session
from sqlalchemy.util import greenlet_spawn

from portico.kit.data.engine import Database
from portico.kit.data.failures import is_duplicate
from portico.kit.data.reader import Reader
from portico.kit.data.statements import Statement
from portico.kit.foundation.aio import run_to_completion
from portico.kit.foundation.clock import Clock
from portico.kit.foundation.problems import Problem

T = TypeVar("T")
P = ParamSpec("P")

Invalidate = Callable[[str], Awaitable[None]]
"""Removes all cached responses with the tag of this name."""

current_unit_of_work: ContextVar["UnitOfWork | None"] = ContextVar("current_unit_of_work", default=None)
"""The unit of work of this task; calls to other services are refused while its transaction is open."""


class PublishableEvent(Protocol):
    """What a unit of work knows of an event: its identity and the aggregate that it is about."""

    @property
    def event_id(self) -> str: ...

    @property
    def aggregate_id(self) -> str: ...


class NotPublished(TypeError):
    """A service publishes an event that it does not declare, or one that is too large."""


class EventSink(Protocol):
    """Stores the events of a unit of work in its transaction. Messaging's outbox implements it."""

    def check(self, event: Any) -> None:
        """Raise NotPublished if the service does not declare events of this type."""

    async def write(self, work: "UnitOfWork", events: Sequence[Any]) -> None:
        """Write the events in the transaction of `work`. Raises NotPublished if one is too large."""

    def committed(self) -> None:
        """Called after the transaction with the events is committed."""


class CacheTagged(Protocol):
    """Names the cached responses that a change invalidates. The cache's `CacheTag` is one."""

    @property
    def name(self) -> str: ...


class UnitOfWork(Reader):
    """One transaction, begun by its first statement: validation and refusals before it hold no lock.

    Commands add, change and publish; whoever opened the unit (the HTTP boundary, a consumer, a job) commits it.
    Statements over tables go past the session, which costs more than most of them; both share one connection.
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
        self._events: list[PublishableEvent] = []
        self._connection: Connection | None = None
        self.committing = False
        self._token: Token[UnitOfWork | None] | None = None

    @property
    def now(self) -> datetime:
        """The time at which this unit began, in UTC: the same for all that it writes."""
        return self._now

    @property
    def is_lone(self) -> bool:
        return False

    async def _release(self) -> None:
        """A transaction holds its connection to its end."""

    @property
    def began(self) -> bool:
        """Whether a transaction is open."""
        if self._connection is not None and self._connection.in_transaction():
            return True
        return self._session is not None and self._session.in_transaction()

    def _engine(self) -> AsyncEngine:
        return self.database.writer

    def _new_session(self) -> AsyncSession:
        return AsyncSession(sync_session_class=_Session, connected=self._connected, expire_on_commit=False)

    def _connected(self) -> Connection:
        """The connection of this unit; in a greenlet only, as whatever waits within SQLAlchemy."""
        if self._connection is None:
            self._refuse_closed()
            self._connection = self._engine().sync_engine.connect()
        return self._connection

    async def execute(self, statement: Executable, parameters: Any = None) -> Result[Any]:
        if _is_mapped(statement):
            return await super().execute(statement, parameters)
        return await self.on_connection(Connection.execute, statement, parameters)

    async def on_connection(self, act: Callable[Concatenate[Connection, P], T], *args: P.args, **named: P.kwargs) -> T:
        """What `act` gives, called with SQLAlchemy's connection of this unit, which the session shares."""
        return await greenlet_spawn(lambda: act(self._connected(), *args, **named))

    async def write(self, statement: Statement, values: Mapping[str, Any]) -> int:
        """Execute a compiled statement and return how many rows it changed. Raises what `execute` raises."""
        return (await self._write(statement, [values])).rowcount

    async def write_each(self, statement: Statement, rows: Sequence[Mapping[str, Any]]) -> None:
        """Execute a compiled statement for each of `rows`, which have the same names. Raises what `execute` raises."""
        if rows:
            await self._write(statement, rows)

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

    async def flush(self, *, taken: Problem | None = None) -> None:
        """Write what is pending. Raises `taken`, where one is given and a unique index refuses a row."""
        if self._session is None:
            return
        try:
            await self.session.flush()
        except IntegrityError as error:
            if taken is not None and is_duplicate(error):
                raise taken from error
            raise

    async def insert(self, row: object, *, taken: Problem) -> None:
        """Add `row` and write it now. Raises `taken` where a unique index refuses it.

        The index decides, not a look beforehand: of two callers at once both would find the place free.
        """
        await self.flush()  # what waited before has its own errors
        self.session.add(row)
        await self.flush(taken=taken)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """What is done inside is undone alone when it raises; the unit goes on."""
        told = len(self._events)
        try:
            async with self.session.begin_nested():
                await self.session.connection()  # sets it now, not at the session's own next statement
                yield
        except BaseException:
            del self._events[told:]
            raise

    def publish(self, event: PublishableEvent) -> None:
        """Publish `event` after the commit: it is written to the outbox in the same transaction.

        Raises:
            NotPublished: the service does not declare events of this type.
        """
        if self._sink is None:
            raise NotPublished("This unit of work was opened without an outbox, so it cannot publish events.")
        self._sink.check(event)
        self._events.append(event)

    @property
    def published(self) -> Sequence[PublishableEvent]:
        """The events published in this unit, in order."""
        return self._events

    def after_commit(self, act: Callable[[], Any]) -> None:
        """Call `act` (awaited where it is awaitable) once the transaction is committed, before the caller is answered.

        For what may be lost with the process, such as forgetting a cached answer; what may not is an event.
        """
        self._after_commit.append(act)

    def invalidate(self, tag: CacheTagged) -> None:
        """Remove the cached responses with this tag after the commit."""
        self._invalidated.add(tag.name)

    def changes(self, subject: str) -> None:
        """Wake those who follow `subject` in this process, once the transaction is committed."""
        self._after_commit.append(partial(self.database.change_notifier.tell, subject))

    async def commit(self) -> None:
        """Write what is pending and commit. A caller that is cancelled meanwhile is so after all of it has ended."""
        if self._events and self._sink is not None:
            # After the flush: the row of the aggregate is locked first, so ids of its events increase in commit order.
            await self.flush()
            await self._sink.write(self, self._events)
            self._after_commit.append(self._sink.committed)
        await self.flush()
        self.committing = self.began
        if self.committing or self._invalidated or self._after_commit:
            await run_to_completion(self._commit())  # or the session would be closed under it

    async def _commit(self) -> None:
        if self.committing:
            await greenlet_spawn(self._end)
        if self._invalidate is not None:
            for name in self._invalidated:
                await self._invalidate(name)
        for act in self._after_commit:
            result = act()
            if result is not None:
                await result

    def _end(self) -> None:
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
                await greenlet_spawn(connection.close)

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
    """A session on the connection of its unit of work, which is opened once a statement wants it."""

    def __init__(self, *, connected: Callable[[], Connection], **options: Any) -> None:
        super().__init__(**options)
        self._connected = connected

    def get_bind(self, *_: Any, **__: Any) -> Connection:
        return self._connected()


def _is_mapped(statement: Executable) -> bool:
    """Whether a statement is about mapped objects."""
    return statement._propagate_attrs.get("compile_state_plugin") == "orm"  # noqa: SLF001  # its session asks the same, and no public name tells it


@asynccontextmanager
async def committed(work: UnitOfWork) -> AsyncIterator[UnitOfWork]:
    """`work`, committed at the block's end, rolled back when the block raises."""
    async with work:
        yield work
        await work.commit()
