"""Executes the steps of a claimed saga until it waits or ends."""

import asyncio
from dataclasses import replace
from datetime import datetime
from typing import Any

from portico.kit.calls.call_batcher import CallBatcher
from portico.kit.calls.errors import CallError
from portico.kit.data.failures import is_unavailable
from portico.kit.foundation.problems import Problem
from portico.kit.sagas.attempts import Act, Attempt, FinalizerFailed
from portico.kit.sagas.cohorts import Cohorts
from portico.kit.sagas.leases import ClaimedSaga, SagaLeases
from portico.kit.sagas.outcomes import (
    ABORTED,
    DONE,
    SKIPPED,
    AbortSaga,
    Outcome,
    StepPending,
    StepTimedOut,
    outcome_of,
)
from portico.kit.sagas.progress import AlreadyCommitted, LeaseLost, UndoRequested
from portico.kit.sagas.transitions import (
    deadline_exceeded,
    needs_undo_before_skip,
)
from portico.kit.service_context import ServiceContext
from portico.kit.telemetry.context import RequestContext, request_context
from portico.kit.telemetry.logs import get_logger
from portico.kit.telemetry.traces import Span, Tracing

logger = get_logger(__name__)


class SagaExecutor:
    """Executes the sagas of one service.

    Args:
        context: the service.
        leases: the runner's leases.
        cohorts: commits the attempts.
        tracing: starts a span per step.
    """

    def __init__(self, context: ServiceContext, leases: SagaLeases, cohorts: Cohorts, tracing: Tracing) -> None:
        self._context = context
        self._leases = leases
        self._cohorts = cohorts
        self._tracing = tracing
        self._gatherer = CallBatcher()

    async def close(self) -> None:
        """Cancel the calls of sagas that were cancelled."""
        await self._gatherer.close()

    async def advance(self, claimed: ClaimedSaga) -> None:
        """Execute steps until the saga waits, ends or is claimed by another process."""
        current: ClaimedSaga | None = claimed
        try:
            while current is not None:
                current = await self._execute_step(current)
        except AlreadyCommitted:
            await self._release(current or claimed)
        except LeaseLost:
            logger.warning("saga_lease_lost", saga=claimed.saga.name, saga_id=claimed.saga_id)
        except Exception:
            # The progress cannot be written. The lease expires, and some process repeats the step.
            logger.exception("saga_progress_not_written", saga=claimed.saga.name, saga_id=claimed.saga_id)

    async def _release(self, claimed: ClaimedSaga) -> None:
        try:
            await self._leases.release_committed(claimed)
        except Exception:  # the lease expires
            logger.exception("saga_lease_not_released", saga=claimed.saga.name, saga_id=claimed.saga_id)

    async def _execute_step(self, claimed: ClaimedSaga) -> ClaimedSaga | None:
        """Execute one step. Return the saga at its next step; None if it waits or has ended."""
        name = f"{claimed.saga.name} {claimed.action} {claimed.position.step}".rstrip()
        attributes: dict[str, Any] = {"saga.id": claimed.saga_id, "saga.attempt": claimed.position.attempts}
        span = self._tracing.begin(name, parent=claimed.trace, attributes=attributes)
        request_context.set(RequestContext(self._context.name, claimed.request_id, span.context))
        error: str | None = "interrupted"
        try:
            attempt = await self._attempt(claimed, span)
            following, outcome = await self._write(attempt)
            failed = outcome.kind in {"refused", "failed", "deadline_exceeded"}
            error = (outcome.code or outcome.kind) if failed else None
        finally:
            span.end(error=error)
        return following

    async def _attempt(self, claimed: ClaimedSaga, span: Span) -> Attempt:
        """Attempt the step. A local step runs later, in the commit."""
        started_at = self._context.clock.now()
        outcome = self._outcome_without_attempt(claimed, started_at)
        if outcome is not None:
            return Attempt(claimed, outcome, claimed.state, started_at)
        position = claimed.position
        if not position.step:
            return Attempt(claimed, DONE, claimed.state, started_at)
        step = claimed.saga.step(position.step)
        act: Any = step.do if claimed.action == "do" else step.undo
        if claimed.saga.is_remote(position.step, claimed.action):
            return await self._call(claimed, act, span, started_at)
        return Attempt(claimed, DONE, claimed.state, started_at, act)

    def _outcome_without_attempt(self, claimed: ClaimedSaga, now: datetime) -> Outcome | None:
        """Return the outcome of a step that must not be attempted; None if it must be."""
        position = claimed.position
        if position.status != "running":
            return SKIPPED if position.skip else None
        if position.skip:
            return self._outcome_of_skip(claimed)
        if (exceeded := claimed.exceeded_deadline(now)) is not None:
            undo_reason = deadline_exceeded(position, exceeded)
            return Outcome("deadline_exceeded", undo_reason.reason, undo_reason.code)
        if position.undo_reason is None:
            return None
        # A pending step is called once more. After a failed step, compensation resolves the outcome.
        is_pending = claimed.saga.is_remote(position.step) and position.was_attempted_before and not position.failures
        return None if is_pending else ABORTED

    def _outcome_of_skip(self, claimed: ClaimedSaga) -> Outcome | None:
        """Return the outcome of a skipped step; None if the step must be undone first."""
        if claimed.position.undo_reason is not None:
            return ABORTED  # compensation undoes it with the other steps
        return None if needs_undo_before_skip(claimed.saga, claimed.position) else SKIPPED

    async def _call(self, claimed: ClaimedSaga, act: Act, span: Span, started_at: datetime) -> Attempt:
        """Run a remote function, with no transaction open."""
        step = claimed.position.step
        within = claimed.saga.step(step).within.total_seconds()
        calls = self._context.calls(
            deadline=asyncio.get_running_loop().time() + within,
            timeout=within,
            key=f"{claimed.saga_id}/{step}/{claimed.action}",
            trace=span.context,
            request_id=claimed.request_id,
        )
        calls.batch_with(self._gatherer)
        try:
            async with asyncio.timeout(within):
                changed = await act(claimed.state, calls)
        except Exception as error:  # noqa: BLE001  every error of a step is its outcome
            self._log_failure(claimed, error)
            return Attempt(claimed, outcome_of(error, effect=calls.in_doubt), claimed.state, started_at)
        return Attempt(claimed, DONE, changed or claimed.state, started_at)

    async def _write(self, attempt: Attempt) -> tuple[ClaimedSaga | None, Outcome]:
        """Commit an attempt, even after concurrent changes. Return the saga at its next step, and the final outcome."""
        try:
            return await self._cohorts.commit(attempt), attempt.outcome
        except UndoRequested as requested:
            return await self._write(attempt.with_undo_reason(requested.undo_reason))
        except FinalizerFailed as failed:
            self._log_failure(attempt.claimed, failed.__cause__)
            return await self._cohorts.commit(replace(attempt, finalize=False)), attempt.outcome
        except (LeaseLost, AlreadyCommitted):
            raise
        except Exception as error:
            is_failure_known = not attempt.outcome.is_success
            if is_failure_known or (attempt.local_act is None and is_unavailable(error)):
                raise
            self._log_failure(attempt.claimed, error)
            return await self._write(attempt.with_failed_commit(error))

    def _log_failure(self, claimed: ClaimedSaga, error: BaseException | None) -> None:
        """Log an unsuccessful attempt. A new unexpected error of the step is logged at ERROR with its traceback."""
        if isinstance(error, StepPending):
            return
        fields: dict[str, Any] = {
            "saga": claimed.saga.name,
            "saga_id": claimed.saga_id,
            "step": claimed.position.step,
            "action": claimed.action,
            "attempt": claimed.position.attempts,
        }
        if isinstance(error, AbortSaga | Problem | CallError | TimeoutError | StepTimedOut):
            reason = str(error) if isinstance(error, CallError) else outcome_of(error).reason
            logger.warning("saga_step_failed", error=reason, **fields)
        elif claimed.position.failures and isinstance(error, Exception) and _is_known(error, claimed):
            logger.warning("saga_step_failed", error=f"{type(error).__name__}: {error}", **fields)
        else:
            logger.error("saga_step_failed", exc_info=error, **fields)


def _is_known(error: Exception, claimed: ClaimedSaga) -> bool:
    """Return whether the previous attempt of the step failed with an error of the same type."""
    return outcome_of(error).reason == claimed.last_error
