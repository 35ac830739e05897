"""Group commit: one writer takes what has gathered while the last transaction committed, and commits it as one.

A commit costs the same for one change and for two hundred, and of two hundred transactions that want the same row each
waits for the one before. Here they are one transaction, and each caller still gets an answer of its own.
"""

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Final, Generic, Self, TypeVar

from sqlalchemy.exc import IntegrityError

from portico.kit.data.failures import is_duplicate
from portico.kit.data.retry import RetryPolicy, is_conflict_or_disconnect, is_transient, run_transaction
from portico.kit.data.unit_of_work import UnitOfWork
from portico.kit.foundation.problems import Problem, Unavailable

R = TypeVar("R")
A = TypeVar("A")

Open = Callable[[], AbstractAsyncContextManager[UnitOfWork]]
Apply = Callable[[UnitOfWork, Sequence[R]], Awaitable[Sequence[A | Problem]]]


def _is_retryable(error: Exception) -> bool:
    """Whether the batch itself may be fine: a conflict, a dead connection, or a row that another process inserted first."""
    return is_conflict_or_disconnect(error) or (isinstance(error, IntegrityError) and is_duplicate(error))


_RETRIES: Final = RetryPolicy(is_retryable=_is_retryable)


class TooManyWaiting(Unavailable):
    detail = "Too many changes are waiting to be written. Retry in {retry_after:.0f} seconds."


class Stopping(Unavailable):
    detail = "This process is stopping. Retry in {retry_after:.0f} seconds."


@dataclass(eq=False, slots=True)
class _Waiting(Generic[R, A]):
    request: R
    answer: asyncio.Future[A]
    context: contextvars.Context = field(default_factory=contextvars.copy_context)


class GroupCommit(Generic[R, A]):
    """Carries out requests of many callers in few transactions: `async with GroupCommit(…) as group: await group.submit(r)`.

    One process runs one of these for each kind of request; several processes on one database do no harm to one another
    where `apply` locks the rows that it rests on, always in the same order.

    A request may be carried out more than once, and has to bear it: after a deadlock, after a connection was lost in
    the commit, and when a batch that fails is split to find the one request that makes it fail.

    Args:
        begin: opens a unit of work that is committed at the end of its block.
        apply: carries out a batch: for each request, in order, the answer or the problem. What it raises is taken for the
            fault of a single request of the batch.
        largest: requests of one transaction.
        waiting: requests that may wait; a further one is refused with 503.
        patience: seconds that what still waits gets when the group is closed.
    """

    def __init__(self, begin: Open, apply: Apply[R, A], *, largest: int, waiting: int, patience: float = 10.0) -> None:
        self._begin = begin
        self._apply = apply
        self._largest = largest
        self._limit = waiting
        self._patience = patience
        self._queue: deque[_Waiting[R, A]] = deque()
        self._arrived = asyncio.Event()
        self._closing = False
        self._writer: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._writer = asyncio.create_task(self._write(), name="group commit")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Carry out what waits, refuse what comes, end."""
        self._closing = True
        self._arrived.set()
        if self._writer is not None:
            await asyncio.wait([self._writer], timeout=self._patience)
            self._writer.cancel()
            await asyncio.wait([self._writer])
        while self._queue:
            _fail(self._queue.popleft(), Stopping())

    @property
    def waiting(self) -> int:
        """How many requests wait for their transaction."""
        return len(self._queue)

    async def submit(self, request: R) -> A:
        """Carry out `request` and give its answer once it is committed.

        A caller that is cancelled while its request waits takes it back; later, only the answer is lost.

        Raises:
            TooManyWaiting: the queue is full.
            Stopping: the group is closed, or is being closed.
            Problem: what `apply` gave for this request.
            Exception: what the database raised, where all tries failed.
        """
        if self._closing or self._writer is None:
            raise Stopping
        if len(self._queue) >= self._limit:
            raise TooManyWaiting
        waiting = _Waiting[R, A](request, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._arrived.set()
        return await waiting.answer

    async def _write(self) -> None:
        while True:
            await self._arrived.wait()
            if batch := self._next_batch():
                # In the context of the first that waits: what the batch tells of belongs to a trace.
                await asyncio.create_task(self._carry_out(batch), context=batch[0].context)
            elif self._closing:
                return
            else:
                self._arrived.clear()

    def _next_batch(self) -> list[_Waiting[R, A]]:
        batch: list[_Waiting[R, A]] = []
        while self._queue and len(batch) < self._largest:
            waiting = self._queue.popleft()
            if not waiting.answer.done():
                batch.append(waiting)
        return batch

    async def _carry_out(self, batch: list[_Waiting[R, A]]) -> None:
        try:
            requests = [each.request for each in batch]
            outcomes = await run_transaction(self._begin, partial(self._apply_to, requests), _RETRIES)
        except asyncio.CancelledError:
            for each in batch:
                _fail(each, Stopping())
            raise
        except Exception as error:  # noqa: BLE001  told to each caller, or narrowed down to the one it is about
            await self._narrow_down(batch, error)
        else:
            for each, outcome in zip(batch, outcomes, strict=True):
                if isinstance(outcome, Problem):
                    _fail(each, outcome)
                elif not each.answer.done():
                    each.answer.set_result(outcome)

    async def _apply_to(self, requests: Sequence[R], work: UnitOfWork) -> Sequence[A | Problem]:
        return await self._apply(work, requests)

    async def _narrow_down(self, batch: list[_Waiting[R, A]], error: Exception) -> None:
        """Halve a batch that failed until the one that makes it fail is alone; its neighbours go through."""
        if len(batch) == 1 or is_transient(error):
            for each in batch:
                _fail(each, error)
            return
        middle = len(batch) // 2
        await self._carry_out(batch[:middle])
        await self._carry_out(batch[middle:])


def _fail(waiting: _Waiting[R, A], error: Exception) -> None:
    if not waiting.answer.done():
        waiting.answer.set_exception(error)
