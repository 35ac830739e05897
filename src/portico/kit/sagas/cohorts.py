"""Commit attempts of saga steps in cohorts: similar attempts that end during a transaction share the next one.

No timer delays an attempt. An attempt that ends alone is committed at once.
"""

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from portico.kit.data.failures import is_unavailable
from portico.kit.data.retry import RetryPolicy, retry_transaction
from portico.kit.foundation.backoff import Backoff
from portico.kit.sagas.attempts import Attempt
from portico.kit.sagas.commits import Member, MemberFailed, is_retryable
from portico.kit.sagas.leases import ClaimedSaga
from portico.kit.sagas.progress import Progress, ProgressConflicts
from portico.kit.telemetry.context import request_context

_RETRIES_WITHIN = 4.0  # seconds; less than the margin of the lease
_BACKOFF_LIMIT = 0.5  # seconds

Commit = Callable[[Sequence[Member]], Awaitable[Sequence[ClaimedSaga | None]]]


@dataclass(eq=False, slots=True)
class _Waiting:
    member: Member
    committed: asyncio.Future[ClaimedSaga | None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def succeed(self, following: ClaimedSaga | None) -> None:
        if not self.committed.done():
            self.committed.set_result(following)

    def fail(self, error: BaseException) -> None:
        if not self.committed.done():
            self.committed.set_exception(error)


class Cohorts:
    """Commits the attempts of one runner.

    A saga whose commit fails does not affect the others: the cohort is split until that saga is alone.

    Args:
        commit: commits a cohort in one transaction, see `AttemptCommits.commit`.
        progress: writes the outcomes.
        max_size: maximum number of sagas in one transaction.
        max_writers: maximum number of cohorts that are committed concurrently.
    """

    def __init__(self, commit: Commit, progress: Progress, *, max_size: int, max_writers: int) -> None:
        self._commit = commit
        self._max_size = max_size
        self._max_writers = max_writers
        self._queue: deque[_Waiting] = deque()
        self._writers = 0
        self._tasks: set[asyncio.Task[None]] = set()
        backoff = Backoff(base=0.02, limit=_BACKOFF_LIMIT, jitter=1.0, draw=progress.backoff.draw)

        def while_open(error: Exception) -> bool:
            return is_unavailable(error) and not progress.closing

        self._retries = RetryPolicy(tries=None, within=_RETRIES_WITHIN, is_retryable=while_open, backoff=backoff)
        self._retries_alone = RetryPolicy(
            tries=None,
            within=_RETRIES_WITHIN,
            is_retryable=lambda error: while_open(error) or (is_retryable(error) and not is_unavailable(error)),
            backoff=backoff,
        )

    async def commit(self, attempt: Attempt) -> ClaimedSaga | None:
        """Commit an attempt, together with similar ones. Retry for a few seconds while the database is unavailable.

        Returns:
            The saga at its next step; None if it waits or has ended.

        Raises:
            LeaseLost: nothing was committed.
            AlreadyCommitted: it was committed before.
            UndoRequested: the saga is to be undone. Nothing was committed.
            Exception: what a local function or the database raised. Nothing was committed.
        """
        waiting = _Waiting(Member(attempt, request_context.get()))
        self._queue.append(waiting)
        if self._writers < self._max_writers:
            self._writers += 1
            self._start(self._write())
        return await waiting.committed

    async def close(self, timeout: float) -> None:  # noqa: ASYNC109  # the writers are cancelled after it
        """Wait for the running transactions, at most `timeout` seconds, then cancel them."""
        tasks = set(self._tasks)
        if tasks:
            await asyncio.wait(tasks, timeout=timeout)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _start(self, act: Coroutine[Any, Any, None]) -> None:
        # The context is empty, so that a cohort inherits nothing from the saga that started it.
        task = asyncio.create_task(act, context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _write(self) -> None:
        try:
            await asyncio.sleep(0)  # lets sagas that continue at the same moment join one cohort
            while cohort := self._next():
                await self._commit_divided(cohort)
        finally:
            self._writers -= 1

    def _next(self) -> list[_Waiting]:
        """Take the attempt that has waited longest, and all similar ones."""
        cohort: list[_Waiting] = []
        others: deque[_Waiting] = deque()
        while self._queue and len(cohort) < self._max_size:
            waiting = self._queue.popleft()
            if waiting.committed.done():
                continue  # its saga was cancelled
            is_alike = not cohort or waiting.member.attempt.kind == cohort[0].member.attempt.kind
            (cohort if is_alike else others).append(waiting)
        self._queue.extendleft(reversed(others))
        return cohort

    async def _commit_divided(self, cohort: Sequence[_Waiting]) -> None:
        """Commit a cohort. Split it as long as its transaction fails because of some of its sagas."""
        try:
            following = await self._commit_retried(cohort)
        except asyncio.CancelledError:
            for each in cohort:
                each.committed.cancel()
            raise
        except Exception as error:  # noqa: BLE001  passed to the failing saga, or to all
            for part in self._parts_after(error, cohort):
                if part:
                    await self._commit_divided(part)
        else:
            for each, at in zip(cohort, following, strict=True):
                each.succeed(at)

    def _parts_after(self, error: Exception, cohort: Sequence[_Waiting]) -> Sequence[Sequence[_Waiting]]:
        """Pass the error to the sagas that caused it, and return the parts of the cohort to commit again."""
        match error:
            case ProgressConflicts():
                for index, conflict in error.errors.items():
                    cohort[index].fail(conflict)
                return [[each for index, each in enumerate(cohort) if index not in error.errors]]
            case MemberFailed():
                self._start(self._commit_divided([cohort[error.index]]))  # it may be slow
                return [cohort[: error.index], cohort[error.index + 1 :]]
        if len(cohort) == 1 or is_unavailable(error):
            for each in cohort:
                each.fail(error)
            return []
        middle = len(cohort) // 2
        return [cohort[:middle], cohort[middle:]]

    async def _commit_retried(self, cohort: Sequence[_Waiting]) -> Sequence[ClaimedSaga | None]:
        members = [each.member for each in cohort]

        async def commit() -> Sequence[ClaimedSaga | None]:
            return await self._commit(members)

        return await retry_transaction(commit, self._retries_alone if len(members) == 1 else self._retries)
