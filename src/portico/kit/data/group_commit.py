"""Group commit: while a transaction commits, one writer collects the next requests for a single transaction.

A commit costs the same for one change and for two hundred. Two hundred transactions that need the same row would wait
for each other. Here they share one transaction, and each caller still gets its own result.
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
    """Return whether the batch may succeed again: after a conflict, a lost connection or a concurrent insert."""
    return is_conflict_or_disconnect(error) or (isinstance(error, IntegrityError) and is_duplicate(error))


_RETRIES: Final = RetryPolicy(is_retryable=_is_retryable)


class CommitInDoubt(Exception):
    """The connection was lost during a commit that must not be repeated. Whether it took effect is not known."""


class TooManyWaiting(Unavailable):
    detail = "Too many changes are waiting to be written. Retry in {retry_after:.0f} seconds."


class Stopping(Unavailable):
    detail = "This process is stopping. Retry in {retry_after:.0f} seconds."


@dataclass(eq=False, slots=True)
class _Request(Generic[R, A]):
    request: R
    answer: asyncio.Future[A]
    context: contextvars.Context = field(default_factory=contextvars.copy_context)


class GroupCommit(Generic[R, A]):
    """Executes requests of many callers in few transactions: `async with GroupCommit(…) as g: await g.submit(request)`.

    A process runs one group per kind of request. Several processes can share a database if `apply` locks the rows that
    it depends on, always in the same order.

    A request may be executed more than once: after a deadlock, after a connection was lost during the commit, and when
    a failing batch is split to find the request that fails. `apply` must allow for that.

    Args:
        begin: opens a unit of work that is committed at the end of its block.
        apply: executes a batch. It returns the result or the problem of each request, in order. If it raises, a single
            request of the batch is assumed to be the cause.
        max_batch: maximum number of requests in one transaction.
        max_waiting: maximum number of waiting requests; further ones are rejected with 503.
        close_timeout: time limit (seconds) for waiting requests when the group is closed.
        retries: which errors of a batch are retried as a whole, and how often.
    """

    def __init__(
        self,
        begin: Open,
        apply: Apply[R, A],
        *,
        max_batch: int,
        max_waiting: int,
        close_timeout: float = 10.0,
        retries: RetryPolicy = _RETRIES,
    ) -> None:
        self._begin = begin
        self._apply = apply
        self._max_batch = max_batch
        self._limit = max_waiting
        self._close_timeout = close_timeout
        self._retries = retries
        self._queue: deque[_Request[R, A]] = deque()
        self._wakeup = asyncio.Event()
        self._closing = False
        self._writer: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._writer = asyncio.create_task(self._write(), name="group commit")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Execute the waiting requests, reject new ones, and stop."""
        self._closing = True
        self._wakeup.set()
        if self._writer is not None:
            await asyncio.wait([self._writer], timeout=self._close_timeout)
            self._writer.cancel()
            await asyncio.wait([self._writer])
        while self._queue:
            _fail(self._queue.popleft(), Stopping())

    @property
    def waiting(self) -> int:
        """Number of requests that wait for their transaction."""
        return len(self._queue)

    async def submit(self, request: R) -> A:
        """Execute `request` and return its result after the commit.

        If a caller is cancelled while its request waits, the request is withdrawn. Later, only the result is lost.

        Raises:
            TooManyWaiting: the queue is full.
            Stopping: the group is closed or closing.
            Problem: the problem that `apply` returned for this request.
            Exception: the database error of the last attempt.
        """
        if self._closing or self._writer is None:
            raise Stopping
        if len(self._queue) >= self._limit:
            raise TooManyWaiting
        waiting = _Request[R, A](request, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._wakeup.set()
        return await waiting.answer

    async def _write(self) -> None:
        while True:
            await self._wakeup.wait()
            if batch := self._next_batch():
                # Use the context of the first request, so that the batch's events and logs belong to a trace.
                await asyncio.create_task(self._execute(batch), context=batch[0].context)
            elif self._closing:
                return
            else:
                self._wakeup.clear()

    def _next_batch(self) -> list[_Request[R, A]]:
        batch: list[_Request[R, A]] = []
        while self._queue and len(batch) < self._max_batch:
            waiting = self._queue.popleft()
            if not waiting.answer.done():
                batch.append(waiting)
        return batch

    async def _execute(self, batch: list[_Request[R, A]]) -> None:
        try:
            requests = [each.request for each in batch]
            outcomes = await run_transaction(self._begin, partial(self._apply_batch, requests), self._retries)
        except asyncio.CancelledError:
            for each in batch:
                _fail(each, Stopping())
            raise
        except Exception as error:  # noqa: BLE001  # passed to each caller, or to that of the failing request
            await self._split(batch, error)
        else:
            for each, outcome in zip(batch, outcomes, strict=True):
                if isinstance(outcome, Problem):
                    _fail(each, outcome)
                elif not each.answer.done():
                    each.answer.set_result(outcome)

    async def _apply_batch(self, requests: Sequence[R], work: UnitOfWork) -> Sequence[A | Problem]:
        return await self._apply(work, requests)

    async def _split(self, batch: list[_Request[R, A]], error: Exception) -> None:
        """Halve a failing batch until the failing request is alone, so that the others succeed."""
        if len(batch) == 1 or is_transient(error) or isinstance(error, CommitInDoubt):
            for each in batch:
                _fail(each, error)
            return
        middle = len(batch) // 2
        await self._execute(batch[:middle])
        await self._execute(batch[middle:])


def _fail(waiting: _Request[R, A], error: Exception) -> None:
    if not waiting.answer.done():
        waiting.answer.set_exception(error)
