"""Units of work of simultaneous requests, committed in one transaction.

A use case that only inserts needs no response from the database before its commit. Its inserts are deferred until then.
The inserts of all waiting requests are written together, with one statement per table. Use cases do not notice this.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

from sqlalchemy import Connection, Insert, Table

from portico.kit._compat.sqlalchemy import await_in_greenlet
from portico.kit.data.engine import Database
from portico.kit.data.failures import is_retryable_conflict, is_storage_full, is_unavailable
from portico.kit.data.group_commit import CommitInDoubt, GroupCommit
from portico.kit.data.retry import RetryPolicy, is_conflict_or_disconnect
from portico.kit.data.statements import Statement
from portico.kit.data.unit_of_work import EventSink, Invalidate, Publication, UnitOfWork
from portico.kit.data.upsert import delete_row, insert_all_if_absent, insert_if_absent
from portico.kit.foundation.aio import run_to_completion
from portico.kit.foundation.clock import Clock
from portico.kit.foundation.problems import Problem

_RETRIES: Final = RetryPolicy(is_retryable=is_conflict_or_disconnect)

Refuse = Callable[[UnitOfWork], Awaitable[Problem]]
"""Function that returns the problem of a request whose row already exists. It may read in the transaction."""


@dataclass(frozen=True, slots=True)
class _Claim:
    """A row that must not exist yet."""

    table: Table
    values: dict[str, Any]
    refuse: Refuse


@dataclass(frozen=True, slots=True)
class _DeferredWrites:
    """The deferred writes of a unit of work."""

    claims: list[_Claim] = field(default_factory=list)
    inserts: list[tuple[Statement, Sequence[Mapping[str, Any]]]] = field(default_factory=list)

    @property
    def shape(self) -> tuple[Any, ...]:
        """The statements, in order. Units of work with the same statements are written together."""
        return (
            tuple((each.table, tuple(each.values)) for each in self.claims),
            tuple((statement, tuple(rows[0])) for statement, rows in self.inserts),
        )


class GroupedUnitOfWork(UnitOfWork):
    """A unit of work that is committed together with others if it only inserts and publishes.

    `write_each` of an INSERT, its callers (`Repository.insert_all`, `start_saga`), `insert_or_refuse` and `publish` are
    deferred until the commit, so no connection is needed before. Any other statement begins a separate transaction: the
    deferred writes are executed first, and the unit is committed alone.

    Args:
        database: the service's database.
        clock: the current time.
        group: commits it with others.
        invalidate: see `UnitOfWork`.
        events: see `UnitOfWork`.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        group: "CommitGroup",
        *,
        invalidate: Invalidate | None = None,
        events: EventSink | None = None,
    ) -> None:
        super().__init__(database, clock, invalidate=invalidate, events=events)
        self._group = group
        self._deferred: _DeferredWrites | None = _DeferredWrites()
        self.has_joined = False
        """Whether the unit was passed to the group, which then does the retries."""

    @property
    def deferred(self) -> _DeferredWrites:
        """The deferred writes; empty after the transaction has begun."""
        return self._deferred or _DeferredWrites()

    @property
    def publications(self) -> Sequence[Publication]:
        """The events to be published."""
        return self._publications

    @property
    def is_grouped(self) -> bool:
        """Whether no statement was executed yet that needs a separate transaction."""
        return self._deferred is not None

    async def write_each(self, statement: Statement, rows: Sequence[Mapping[str, Any]]) -> None:
        if self._deferred is None or not isinstance(statement.source, Insert):
            await super().write_each(statement, rows)
        elif rows:
            self._deferred.inserts.append((statement, rows))

    def defer_claim(self, table: Table, values: dict[str, Any], refuse: Refuse, *, first: bool) -> None:
        """Insert a row at the commit, before all other rows, or fail with the problem that `refuse` returns.

        Raises RuntimeError if the transaction has already begun.
        """
        if self._deferred is None:
            raise RuntimeError("The transaction has begun, so the insert cannot be deferred. Execute it now.")
        claim = _Claim(table, values, refuse)
        self._deferred.claims.insert(0 if first else len(self._deferred.claims), claim)

    def _connect(self) -> Connection:
        connection = super()._connect()
        deferred, self._deferred = self._deferred, None
        if deferred is not None:
            await_in_greenlet(self._write_deferred(deferred))
        return connection

    async def _write_deferred(self, deferred: _DeferredWrites) -> None:
        for claim in deferred.claims:
            if not await insert_if_absent(self, claim.table, claim.values):
                raise await claim.refuse(self)
        for statement, rows in deferred.inserts:
            await self.write_each(statement, rows)

    async def commit(self) -> None:
        await self.flush()
        if self._deferred is None or not (self._deferred.claims or self._deferred.inserts or self._publications):
            await super().commit()
        else:
            await run_to_completion(self._join())

    async def _join(self) -> None:
        self.has_joined = True
        await self._group.commit(self)
        self._publications = []
        await self._commit()  # actions after the commit


class CommitGroup:
    """Commits grouped units of work of one service: `async with CommitGroup(…) as group`.

    A unit that arrives alone is committed at once. Units that arrive during a commit share the next transaction. If a
    statement fails, the transaction is split until the failing unit is alone.

    Args:
        begin: returns the unit of work that executes the inserts and events of all.
        max_batch: maximum number of units in one transaction.
        max_waiting: maximum number of waiting units; further ones fail with 503.
    """

    def __init__(self, begin: Callable[[], UnitOfWork], *, max_batch: int, max_waiting: int) -> None:
        self._begin = begin
        self._group = GroupCommit[GroupedUnitOfWork, None](
            self._transaction, _write_all, max_batch=max_batch, max_waiting=max_waiting, retries=_RETRIES
        )

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._group.__aexit__(kind, error, trace)

    @property
    def waiting(self) -> int:
        """Number of units that wait for their transaction."""
        return self._group.waiting

    async def commit(self, unit: GroupedUnitOfWork) -> None:
        """Commit a unit together with others.

        Raises:
            Problem: what `refuse` of one of its claims returned.
            TooManyWaiting: too many units wait.
            CommitInDoubt: the connection was lost during the commit.
            Exception: the error of the database.
        """
        await self._group.submit(unit)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[UnitOfWork]:
        async with self._begin() as work:
            yield work
            try:
                await work.commit()
            except Exception as error:
                is_known = is_retryable_conflict(error) or is_storage_full(error) or not is_unavailable(error)
                if is_known or not work.committing:
                    raise
                raise CommitInDoubt from error


async def _write_all(work: UnitOfWork, units: Sequence[GroupedUnitOfWork]) -> Sequence[Problem | None]:
    refused: dict[GroupedUnitOfWork, Problem] = {}
    by_shape: defaultdict[tuple[Any, ...], list[GroupedUnitOfWork]] = defaultdict(list)
    for unit in units:
        by_shape[unit.deferred.shape].append(unit)
    for alike in by_shape.values():
        await _claim(work, alike, refused)
        written = [unit.deferred.inserts for unit in alike if unit not in refused]
        for same in zip(*written, strict=True):
            await work.write_each(same[0][0], [row for _, rows in same for row in rows])
    work.adopt(each for unit in units if unit not in refused for each in unit.publications)
    return [refused.get(unit) for unit in units]


async def _claim(
    work: UnitOfWork, units: Sequence[GroupedUnitOfWork], refused: dict[GroupedUnitOfWork, Problem]
) -> None:
    """Insert the rows that must not exist yet. Find the units whose row exists, and delete their other rows."""
    for number in range(len(units[0].deferred.claims)):
        remaining = [unit for unit in units if unit not in refused]
        claims = [unit.deferred.claims[number] for unit in remaining]
        inserted = await insert_all_if_absent(work, claims[0].table, [each.values for each in claims]) if claims else []
        for unit, claim, is_inserted in zip(remaining, claims, inserted, strict=True):
            if not is_inserted:
                refused[unit] = await claim.refuse(work)
                for earlier in unit.deferred.claims[:number]:
                    await delete_row(work, earlier.table, earlier.values)


async def insert_or_refuse(work: UnitOfWork, table: Table, values: dict[str, Any], refuse: Refuse) -> None:
    """Insert a row unless its key or another unique value exists. A grouped unit of work inserts it at the commit.

    Args:
        work: the transaction.
        table: the table.
        values: the row.
        refuse: returns the problem if the row exists. It may read in the transaction.

    Raises:
        Problem: what `refuse` returned, now or at the commit.
    """
    if isinstance(work, GroupedUnitOfWork) and work.is_grouped:
        work.defer_claim(table, values, refuse, first=False)
    elif not await insert_if_absent(work, table, values):
        raise await refuse(work)
