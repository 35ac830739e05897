"""Run the parts of a transaction in turns, so that one statement writes the rows of several parts.

Cohorts of sagas and batches of events use it. A part is the work of one saga or one event in the shared transaction.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from portico.kit.data.statements import Statement
from portico.kit.data.unit_of_work import UnitOfWork

T = TypeVar("T")

Part = Callable[[], Coroutine[Any, Any, T]]


async def run_in_turns(work: UnitOfWork, parts: Sequence[Part[T]]) -> Sequence[T]:
    """Run the parts of a transaction one at a time, each in its own context, and return their results.

    A part's turn ends when the part ends or waits in `write_together`. When all parts have started, the rows of the
    waiting parts are written, with one statement for each kind of row. Then these parts continue in the same order.

    Raises:
        Exception: the exception of the first failing part or of the database. The other parts are cancelled.
    """
    return await _Turns[T](work).run(parts)


async def write_together(work: UnitOfWork, statement: Statement, values: Mapping[str, Any]) -> bool:
    """Write a row and return whether it was written. Parts of one transaction write theirs in one statement.

    A part that has loaded rows with the session, or opened a savepoint, does not wait, because other parts would see
    its unfinished changes. Other parts may write while this part waits: a value that was read before may be outdated.

    Args:
        work: the transaction.
        statement: an INSERT or an UPDATE, as in `UnitOfWork.write_all`. No two parts may update the same row.
        values: the row.
    """
    turns = _current.get()
    if turns is None or not turns.is_turn_in(work) or work.holds_state:
        return await work.write(statement, values) > 0
    return await turns.write(statement, values)


def time_limit(seconds: float) -> asyncio.Timeout:
    """Return a time limit (seconds) for the current part. It does not count while the part waits for other parts."""
    limit = asyncio.timeout(seconds)
    turns = _current.get()
    if turns is not None:
        turns.add_limit(limit)
    return limit


@dataclass(eq=False, slots=True)
class _Row:
    statement: Statement
    values: Mapping[str, Any]
    task: "asyncio.Task[Any]"
    written: asyncio.Future[bool]
    is_written: bool = False


class _Turns(Generic[T]):
    def __init__(self, work: UnitOfWork) -> None:
        self._work = work
        self._loop = asyncio.get_running_loop()
        self._rows: list[_Row] = []
        self._tasks: dict[asyncio.Task[Any], None] = {}
        self._limits: dict[asyncio.Task[Any], asyncio.Timeout] = {}
        self._turn: asyncio.Future[None] = self._loop.create_future()

    def is_turn_in(self, work: UnitOfWork) -> bool:
        """Return whether the current task is a running part of this transaction, not a task that a part has started."""
        return self._work is work and asyncio.current_task() in self._tasks

    def add_limit(self, limit: asyncio.Timeout) -> None:
        if (task := asyncio.current_task()) is not None:
            self._limits[task] = limit

    async def run(self, parts: Sequence[Part[T]]) -> Sequence[T]:
        token = _current.set(self)
        try:
            for part in parts:
                task = asyncio.create_task(part())
                self._tasks[task] = None
                task.add_done_callback(self._end_turn)
                await self._end_of_turn(task)
            while self._rows:
                rows, self._rows = self._rows, []
                await self._write(rows)
                for row in rows:
                    row.written.set_result(row.is_written)
                    await self._end_of_turn(row.task)
            return [task.result() for task in self._tasks]
        finally:
            _current.reset(token)
            await self._cancel_parts()

    async def write(self, statement: Statement, values: Mapping[str, Any]) -> bool:
        task: Any = asyncio.current_task()
        limit = self._limits.get(task)
        until = None if limit is None else limit.when()
        row = _Row(statement, values, task, self._loop.create_future())
        self._rows.append(row)
        self._end_turn()
        if limit is None or until is None:
            return await row.written
        limit.reschedule(None)
        began = self._loop.time()
        is_written = await row.written
        limit.reschedule(until + self._loop.time() - began)
        return is_written

    async def _end_of_turn(self, task: "asyncio.Task[T]") -> None:
        """Wait until the part ends or waits. Raises the part's exception."""
        await self._turn
        self._turn = self._loop.create_future()
        if task.done():
            task.result()

    def _end_turn(self, _: object = None) -> None:
        if not self._turn.done():
            self._turn.set_result(None)

    async def _write(self, rows: Sequence[_Row]) -> None:
        alike: defaultdict[tuple[Statement, tuple[str, ...]], list[_Row]] = defaultdict(list)
        for row in rows:
            alike[row.statement, tuple(row.values)].append(row)
        for (statement, _), some in alike.items():
            answers = await self._work.write_all(statement, [row.values for row in some])
            for row, is_written in zip(some, answers, strict=True):
                row.is_written = is_written

    async def _cancel_parts(self) -> None:
        """Cancel the parts that are unfinished after a failure or a cancellation."""
        unfinished = [task for task in self._tasks if not task.done()]
        for task in unfinished:
            task.cancel()
        if unfinished:
            await asyncio.wait(unfinished)
        for task in self._tasks:
            if not task.cancelled():
                task.exception()  # so that asyncio does not log it: the first failure is raised


_current: ContextVar[_Turns[Any] | None] = ContextVar("current_turns", default=None)
