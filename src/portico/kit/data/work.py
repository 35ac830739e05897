"""The unit of work that commands are given, and the reader that queries are given."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar, Token
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from sqlalchemy import Engine, Executable, Result, Select
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession
from sqlalchemy.util import greenlet_spawn

from portico.kit.cache.topic import Topic
from portico.kit.clock import Clock
from portico.kit.data.engine import Database
from portico.kit.data.failures import is_duplicate
from portico.kit.messaging.event import Event
from portico.kit.messaging.outbox import NotPublished, Outbox
from portico.kit.problems import Problem

T = TypeVar("T")

Forget = Callable[[Topic], Awaitable[None]]

in_transaction: ContextVar["UnitOfWork | None"] = ContextVar("in_transaction", default=None)
"""The unit of work of this task; calls to other services are refused while its transaction is open."""


class SessionClosed(RuntimeError):
    """The request was answered; a stream reads before it starts or opens a reader of its own."""


class Reader:
    """Reads a service's database. Each statement is its own snapshot, and holds a connection only while it runs.

    What a request does between two statements (a password is hashed, another service is asked) may take long; a handful
    of such requests would otherwise hold every connection there is. Rows are detached: read once, they stay as they are.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database = database
        self.clock = clock
        self._session: AsyncSession | None = None
        self._closed = False

    @property
    def now(self) -> datetime:
        """The time, in UTC."""
        return self.clock.now()

    @property
    def session(self) -> AsyncSession:
        """SQLAlchemy's session, for what the methods here do not cover."""
        if self._session is None:
            if self._closed:
                raise SessionClosed(
                    "the request is answered: read before streaming, or open a reader of the stream's own"
                )
            self._session = AsyncSession(self._engine(), expire_on_commit=False)
        return self._session

    def _engine(self) -> AsyncEngine:
        return self.database.reader

    async def execute(self, statement: Executable, parameters: Any = None) -> Result[Any]:
        result = await self.session.execute(statement, parameters)
        await self._release()
        return result

    async def _release(self) -> None:
        """Give the connection back until the next statement."""
        if self._session is not None:
            await self._session.close()

    async def one(self, statement: Select[T]) -> T | None:
        """The first column of the only row, or None. Raises MultipleResultsFound."""
        return (await self.execute(statement)).scalars().one_or_none()

    async def all(self, statement: Select[T]) -> Sequence[T]:
        """The first column of every row."""
        return (await self.execute(statement)).scalars().all()

    @property
    def is_lone(self) -> bool:
        """Whether a statement may go past the session: nothing it does concerns another one of this reader."""
        return self._session is None and not self._closed

    async def rows(self, statement: Select[Any], values: Mapping[str, Any] | None = None) -> Sequence[Any]:
        """Every row of a statement over columns of tables (`Book.__table__.c.title`), which makes no mapped objects.

        `values` are those of its named parameters. A lone statement, as in most answers to a GET, goes past the session
        and costs half of what it does there.
        """
        if not self.is_lone:
            return await self._rows_in_session(statement, values)
        engine = self._engine().sync_engine
        try:
            found: Sequence[Any] = await greenlet_spawn(_fetched, engine, statement, values)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            # The server had ended the connection while it waited in the pool; SQLAlchemy now takes all of them for dead.
            found = await greenlet_spawn(_fetched, engine, statement, values)
        return found

    async def _rows_in_session(self, statement: Select[Any], values: Mapping[str, Any] | None) -> Sequence[Any]:
        found: Sequence[Any] = (await self.execute(statement, values)).all()
        return found

    async def get(self, table: type[T], key: Any, *, lock: bool = False) -> T | None:
        """The row of `table` with this primary key, or None; locked until the transaction ends with `lock`."""
        row = await self.session.get(table, key, with_for_update=True if lock else None)
        await self._release()
        return row

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator["Reader"]:
        """A reader all of whose statements see one moment. Costs a transaction."""
        async with self._engine().connect() as connection:
            if self.database.dialect == "sqlite":
                await connection.exec_driver_sql("BEGIN")  # the driver itself would begin at the first write only
            else:
                await connection.execution_options(isolation_level="REPEATABLE READ")
            reader = _Snapshot(self.database, self.clock, connection)
            async with reader:
                yield reader
            if self.database.dialect == "sqlite":
                await connection.exec_driver_sql("ROLLBACK")
            else:
                await connection.rollback()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Give the connection back; from now on the session is refused."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()


class _Snapshot(Reader):
    """A reader on one connection, which it holds to its end."""

    def __init__(self, database: Database, clock: Clock, connection: AsyncConnection) -> None:
        super().__init__(database, clock)
        self._session = AsyncSession(connection, expire_on_commit=False)

    @property
    def is_lone(self) -> bool:
        return False

    async def _release(self) -> None:
        """What is seen is one moment, so the connection stays."""


def _fetched(engine: Engine, statement: Select[Any], values: Mapping[str, Any] | None) -> Sequence[Any]:
    with engine.connect() as connection:
        return connection.execute(statement, values).all()


class UnitOfWork(Reader):
    """One transaction, begun by its first statement: validation and refusals before it hold no lock.

    Commands add, change and publish; whoever opened the unit (the HTTP boundary, a consumer, a job) commits it.
    """

    def __init__(
        self, database: Database, clock: Clock, *, forget: Forget | None = None, outbox: Outbox | None = None
    ) -> None:
        super().__init__(database, clock)
        self._now = clock.now()
        self._forget = forget
        self._outdated: set[Topic] = set()
        self._after_commit: list[Callable[[], Any]] = []
        self._outbox = outbox
        self._events: list[Event] = []
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
        return self._session is not None and self._session.in_transaction()

    def _engine(self) -> AsyncEngine:
        return self.database.writer

    def add(self, row: object) -> None:
        self.session.add(row)

    def add_all(self, rows: Iterable[object]) -> None:
        self.session.add_all(rows)

    async def delete(self, row: object) -> None:
        await self.session.delete(row)

    async def flush(self, *, taken: Problem | None = None) -> None:
        """Write what is pending. Raises `taken`, where one is given and a unique index refuses a row."""
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
        await self.session.flush()  # what waited before has its own errors
        self.session.add(row)
        await self.flush(taken=taken)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """What is done inside is undone alone when it raises; the unit goes on."""
        told = len(self._events)
        try:
            async with self.session.begin_nested():
                yield
        except BaseException:
            del self._events[told:]
            raise

    def publish(self, event: Event) -> None:
        """Tell of `event` once this is committed: it is written in the same transaction.

        Raises NotPublished where the service does not declare such events.
        """
        if self._outbox is None:
            raise NotPublished("this unit of work belongs to no service that publishes events")
        self._outbox.check(event)
        self._events.append(event)

    @property
    def published(self) -> Sequence[Event]:
        """The events of this unit, in order."""
        return self._events

    def after_commit(self, act: Callable[[], Any]) -> None:
        """Call `act` (awaited where it is awaitable) once the transaction is committed, before the caller is answered.

        For what may be lost with the process, such as forgetting a cached answer; what may not is an event.
        """
        self._after_commit.append(act)

    def outdate(self, topic: Topic) -> None:
        """Have the answers that are kept about `topic` forgotten, once the transaction is committed."""
        self._outdated.add(topic)

    def changes(self, subject: str) -> None:
        """Wake those who follow `subject` in this process, once the transaction is committed."""
        self._after_commit.append(partial(self.database.followers.tell, subject))

    async def commit(self) -> None:
        """Write what is pending and commit. A caller that is cancelled meanwhile is so after all of it has ended."""
        if self._events and self._outbox is not None:
            # After the flush: the row of what an event is about is locked first, and ids go up in that order.
            await self.session.flush()
            await self.session.execute(self._outbox.put, self._outbox.rows(self._events, self._now))
            self._after_commit.append(self._outbox.wake)
        if self._session is not None:
            await self._session.flush()
            self.committing = True
        elif not (self._outdated or self._after_commit):
            return
        await _to_its_end(self._commit())

    async def _commit(self) -> None:
        if self._session is not None:
            await self._session.commit()
        if self._forget is not None:
            for topic in self._outdated:
                await self._forget(topic)
        for act in self._after_commit:
            result = act()
            if result is not None:
                await result

    async def __aenter__(self) -> Self:
        self._token = in_transaction.set(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            in_transaction.reset(self._token)
        await super().__aexit__(kind, error, trace)


async def _to_its_end(commit: Coroutine[Any, Any, None]) -> None:
    """Await `commit`; a cancellation waits for its end, or the session would be closed under it."""
    task = asyncio.ensure_future(commit)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # seen: whoever is cancelled has no use for it, and the loop must not complain
        raise


@asynccontextmanager
async def committed(work: UnitOfWork) -> AsyncIterator[UnitOfWork]:
    """`work`, committed at the block's end, rolled back when the block raises."""
    async with work:
        yield work
        await work.commit()
