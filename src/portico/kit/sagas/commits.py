"""Commit the attempts of a cohort of sagas in one transaction."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

from sqlalchemy.orm.exc import StaleDataError

from portico.kit.data.failures import is_retryable_conflict, is_unavailable
from portico.kit.data.turns import run_in_turns, time_limit
from portico.kit.data.unit_of_work import UnitOfWork
from portico.kit.sagas.attempts import Attempt, FinalizerFailed
from portico.kit.sagas.leases import ClaimedSaga
from portico.kit.sagas.outcomes import Outcome, StepTimedOut, UndoReason
from portico.kit.sagas.progress import Change, Progress
from portico.kit.sagas.state import SagaState
from portico.kit.sagas.transitions import Position, next_position, retry_finalizer, start_compensation
from portico.kit.service_context import ServiceContext
from portico.kit.telemetry.context import RequestContext, request_context
from portico.kit.telemetry.traces import Span, Tracing

_SLOW = 0.5  # seconds that the local part of one saga may delay the rest of its cohort


class MemberFailed(Exception):
    """The local part of one saga failed, so its whole cohort is rolled back.

    Attributes:
        index: The saga's position in the cohort.
    """

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.index = index


@dataclass(frozen=True, slots=True)
class Member:
    """An attempt in a cohort, with the context of its events and logs."""

    attempt: Attempt
    context: RequestContext | None


def is_retryable(error: Exception) -> bool:
    """Return whether a transaction with the same attempts may succeed."""
    return is_retryable_conflict(error) or is_unavailable(error) or isinstance(error, StaleDataError)


class AttemptCommits:
    """Commits attempts of one service's sagas.

    Args:
        context: the service.
        progress: writes the outcomes.
        slots: limits the number of open transactions, because requests need connections too.
        tracing: starts a span for each cohort, with links to the steps of its sagas.
    """

    def __init__(self, context: ServiceContext, progress: Progress, slots: asyncio.Semaphore, tracing: Tracing) -> None:
        self._context = context
        self._tracing = tracing
        self._progress = progress
        self._slots = slots
        self.outcomes: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()

    async def commit(self, cohort: Sequence[Member]) -> Sequence[ClaimedSaga | None]:
        """Commit the attempts of a cohort in one transaction.

        The local parts run in turns, see `run_in_turns`. A saga that is alone has the time limit of its step. In a
        cohort, its local part fails after half a second and is repeated alone.

        Returns:
            Each saga at its next step; None if it waits or has ended.

        Raises:
            MemberFailed: the local part of one saga failed. The error is its cause. For a single saga, the error itself
                is raised.
            ProgressConflicts: rows of some sagas were not as expected.
        """
        if len(cohort) == 1:
            return await self._commit(cohort, is_alone=True)
        span = self._begin_span(cohort)
        error: str | None = "interrupted"
        try:
            following = await self._commit(cohort, is_alone=False)
            error = None
        except Exception as failure:
            error = type(failure).__name__
            raise
        finally:
            span.end(error=error)
        return following

    def _begin_span(self, cohort: Sequence[Member]) -> Span:
        """Begin the span of a cohort. It has its own trace, and a link to the span of each saga's step."""
        claimed = cohort[0].attempt.claimed
        name = f"{claimed.saga.name} commit {claimed.position.step}".rstrip()
        links = [each.context.trace for each in cohort if each.context is not None and each.context.trace is not None]
        return self._tracing.begin(name, attributes={"saga.cohort": len(cohort)}, links=links)

    async def _commit(self, cohort: Sequence[Member], *, is_alone: bool) -> Sequence[ClaimedSaga | None]:
        async with self._slots, self._context.unit_of_work() as work:
            if is_alone:
                with _context_of(cohort[0]):
                    changes: Sequence[Change] = [await self._run(cohort[0].attempt, work, is_alone=True)]
            else:
                parts = [partial(self._run_member, index, each, work) for index, each in enumerate(cohort)]
                changes = await run_in_turns(work, parts)
            following = await self._progress.write(work, changes)
            await work.commit()
        for change in changes:
            self.outcomes[change.outcome.kind] += 1
            if change.to.has_ended:
                self.ended[change.to.status] += 1
        return following

    async def _run_member(self, index: int, member: Member, work: UnitOfWork) -> Change:
        with _context_of(member):
            try:
                return await self._run(member.attempt, work, is_alone=False)
            except Exception as error:
                if is_retryable(error):
                    raise
                raise MemberFailed(index) from error

    async def _run(self, attempt: Attempt, work: UnitOfWork, *, is_alone: bool) -> Change:
        """Run the local part of an attempt and its finalizer. Return the change of the saga's row."""
        claimed = attempt.claimed
        state = await self._run_local_part(attempt, work, is_alone=is_alone)
        to = self._next_position(claimed, attempt.outcome)
        if to.has_ended and not attempt.finalize:
            to = retry_finalizer(replace(claimed.position, undo_reason=to.undo_reason), self._progress.backoff)
        if to.has_ended:
            await self._finalize(attempt, to, state, work)
        await work.flush()  # errors belong to this saga; lock order: the service's rows before rows of sagas
        return Change(claimed, to, state, attempt.outcome, attempt.started_at)

    async def _run_local_part(self, attempt: Attempt, work: UnitOfWork, *, is_alone: bool) -> SagaState:
        """Run the part of the step that belongs to the commit: a local step, or the `record` of a remote step."""
        position = attempt.claimed.position
        if not position.step:
            return attempt.state
        step = attempt.claimed.saga.step(position.step)
        limit = step.within.total_seconds()
        within = time_limit(limit if is_alone else min(limit, _SLOW))
        try:
            async with within:
                state = attempt.state
                if attempt.local_act is not None:
                    state = await attempt.local_act(state, work) or state
                if step.record is not None and position.status == "running" and attempt.outcome.is_success:
                    await step.record(state, work)
        except TimeoutError as error:
            if within.expired():
                raise StepTimedOut from error
            raise
        return state

    async def _finalize(self, attempt: Attempt, to: Position, state: SagaState, work: UnitOfWork) -> None:
        try:
            await attempt.claimed.saga.finalize(state, work, to.undo_reason)
        except Exception as error:
            is_transient = is_retryable_conflict(error) or is_unavailable(error)
            if to.status == "done" or attempt.local_act is not None or is_transient:
                raise
            raise FinalizerFailed from error

    def _next_position(self, claimed: ClaimedSaga, outcome: Outcome) -> Position:
        position = claimed.position
        if outcome.kind in {"aborted", "deadline_exceeded"}:
            undo_reason = position.undo_reason or UndoReason(False, outcome.reason, outcome.code, position.step)
            effect = claimed.saga.is_remote(position.step) and position.was_attempted_before
            return start_compensation(claimed.saga, position, undo_reason, effect=effect)
        exceeded = claimed.exceeded_deadline(self._context.clock.now())
        return next_position(claimed.saga, position, outcome, self._progress.backoff, exceeded)


@contextmanager
def _context_of(member: Member) -> Iterator[None]:
    token = request_context.set(member.context)
    try:
        yield
    finally:
        request_context.reset(token)
