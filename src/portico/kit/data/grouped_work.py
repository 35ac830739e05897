"""Units of work of simultaneous requests, committed in one transaction.

A use case that only inserts needs no answer of the database before its commit. Its inserts are kept until then, and those of
all requests that wait are written together, one statement per table. Use cases do not notice it.
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
"""Returns the problem of a request whose row exists already. It may read in the transaction."""


@dataclass(frozen=True, slots=True)
class _Claim:
    """A row that must not exist yet."""

    table: Table
    values: dict[str, Any]
    refuse: Refuse


@dataclass(frozen=True, slots=True)
class _Kept:
    """What a unit of work writes at its commit."""

    claims: list[_Claim] = field(default_factory=list)
    inserts: list[tuple[Statement, Sequence[Mapping[str, Any]]]] = field(default_factory=list)

    @property
    def shape(self) -> tuple[Any, ...]:
        """The statements, in order. Units of the same shape are written together."""
        return (
            tuple((each.table, tuple(each.values)) for each in self.claims),
            tuple((statement, tuple(rows[0])) for statement, rows in self.inserts),
        )


class GroupedUnitOfWork(UnitOfWork):
    """A unit of work that is committed together with those of other requests, if it only inserts and publishes.

    `write_each` of an INSERT, what uses it (`Repository.insert_all`, `start_saga`), `insert_or_refuse` and `publish` are
    kept until the commit. So no connection is taken before. Every other statement begins a transaction of its own: what was
    kept is written first, and the unit is committed alone, as any other.

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
        self._kept: _Kept | None = _Kept()
        self.has_joined = False
        """Whether the group has been given this unit. It repeats what can be repeated."""

    @property
    def kept(self) -> _Kept:
        """What is to be written. Empty after the transaction has begun."""
        return self._kept or _Kept()

    @property
    def publications(self) -> Sequence[Publication]:
        """The events to be published."""
        return self._publications

    @property
    def is_grouped(self) -> bool:
        """Whether no statement was executed yet that needs a transaction of its own."""
        return self._kept is not None

    async def write_each(self, statement: Statement, rows: Sequence[Mapping[str, Any]]) -> None:
        if self._kept is None or not isinstance(statement.source, Insert):
            await super().write_each(statement, rows)
        elif rows:
            self._kept.inserts.append((statement, rows))

    def keep_claim(self, table: Table, values: dict[str, Any], refuse: Refuse, *, first: bool) -> None:
        """Insert a row at the commit, before all other rows, or fail with what `refuse` returns.

        Raises RuntimeError if the unit is not grouped any more.
        """
        if self._kept is None:
            raise RuntimeError("The transaction has begun. Insert the row now.")
        claim = _Claim(table, values, refuse)
        self._kept.claims.insert(0 if first else len(self._kept.claims), claim)

    def _connect(self) -> Connection:
        connection = super()._connect()
        kept, self._kept = self._kept, None
        if kept is not None:
            await_in_greenlet(self._write_alone(kept))
        return connection

    async def _write_alone(self, kept: _Kept) -> None:
        for claim in kept.claims:
            if not await insert_if_absent(self, claim.table, claim.values):
                raise await claim.refuse(self)
        for statement, rows in kept.inserts:
            await self.write_each(statement, rows)

    async def commit(self) -> None:
        await self.flush()
        if self._kept is None or not (self._kept.claims or self._kept.inserts or self._publications):
            await super().commit()
        else:
            await run_to_completion(self._join())

    async def _join(self) -> None:
        self.has_joined = True
        await self._group.commit(self)
        self._publications = []
        await self._commit()  # what follows the commit


class CommitGroup:
    """Commits grouped units of work of one service: `async with CommitGroup(…) as group`.

    One that comes alone is committed at once. Those that come while a transaction commits are the next transaction. If a
    statement fails, the transaction is split until the unit that causes it is alone.

    Args:
        begin: returns a unit of work that takes the inserts and events of all.
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
        by_shape[unit.kept.shape].append(unit)
    for alike in by_shape.values():
        await _claim(work, alike, refused)
        written = [unit.kept.inserts for unit in alike if unit not in refused]
        for same in zip(*written, strict=True):
            await work.write_each(same[0][0], [row for _, rows in same for row in rows])
    work.adopt(each for unit in units if unit not in refused for each in unit.publications)
    return [refused.get(unit) for unit in units]


async def _claim(
    work: UnitOfWork, units: Sequence[GroupedUnitOfWork], refused: dict[GroupedUnitOfWork, Problem]
) -> None:
    """Insert the rows that must not exist yet, and find the units that are refused. Nothing of those remains."""
    for number in range(len(units[0].kept.claims)):
        remaining = [unit for unit in units if unit not in refused]
        claims = [unit.kept.claims[number] for unit in remaining]
        inserted = await insert_all_if_absent(work, claims[0].table, [each.values for each in claims]) if claims else []
        for unit, claim, is_inserted in zip(remaining, claims, inserted, strict=True):
            if not is_inserted:
                refused[unit] = await claim.refuse(work)
                for earlier in unit.kept.claims[:number]:
                    await delete_row(work, earlier.table, earlier.values)


async def insert_or_refuse(work: UnitOfWork, table: Table, values: dict[str, Any], refuse: Refuse) -> None:
    """Insert a row unless its key or another unique value exists; a grouped unit of work does so at its commit.

    Args:
        work: the transaction.
        table: the table.
        values: the row.
        refuse: returns the problem of a row that exists. It may read in the transaction.

    Raises:
        Problem: what `refuse` returned, now or at the commit.
    """
    if isinstance(work, GroupedUnitOfWork) and work.is_grouped:
        work.keep_claim(table, values, refuse, first=False)
    elif not await insert_if_absent(work, table, values):
        raise await refuse(work)
