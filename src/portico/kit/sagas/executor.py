"""Takes one saga forward, or back, until it rests."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm.exc import StaleDataError

from portico.kit.calls.errors import CallError
from portico.kit.data.failures import is_retryable_conflict, is_unavailable
from portico.kit.data.retry import RetryPolicy, retry_transaction
from portico.kit.data.unit_of_work import UnitOfWork
from portico.kit.foundation.backoff import Backoff
from portico.kit.foundation.problems import Problem
from portico.kit.sagas.leases import ClaimedSaga, SagaLeases
from portico.kit.sagas.outcomes import (
    CUT,
    DONE,
    SKIPPED,
    AbortSaga,
    Outcome,
    StepPending,
    StepTimedOut,
    UndoReason,
    outcome_of,
)
from portico.kit.sagas.progress import AskedMeanwhile, LeaseLost, Progress, WrittenBefore
from portico.kit.sagas.state import SagaState
from portico.kit.sagas.transitions import (
    Position,
    deadline_passed,
    needs_undo_before_skip,
    next_position,
    retry_finalizer,
    start_compensation,
)
from portico.kit.telemetry.context import RequestContext, request_context
from portico.kit.telemetry.logs import get_logger
from portico.kit.telemetry.traces import Span

if TYPE_CHECKING:
    from portico.kit.runtime.context import ServiceRuntime

logger = get_logger(__name__)

_PERSISTENCE = 4.0  # seconds in which a commit is tried again, where the database is busy or away; then the lease ends
_LONGEST_PAUSE = 0.5  # seconds between two tries

Act = Callable[..., Awaitable[Any]]


class EndFailed(Exception):
    """All is undone, and what is to be written then could not be."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt, and how it ended as far as is known before the commit.

    Attributes:
        held: The saga.
        outcome: Of the attempt.
        state: What the saga knows after it.
        began: When it began.
        act: What is still to be done, in the commit; None for what is over.
    """

    held: ClaimedSaga
    outcome: Outcome
    state: SagaState
    began: datetime
    act: Act | None = None

    def knowing(self, why: UndoReason) -> "Attempt":
        """The same, where somebody asked meanwhile for the saga to be undone; what was still to be done is left."""
        held = replace(self.held, at=replace(self.held.at, why=why))
        return replace(self, held=held, act=None, outcome=self.outcome if self.act is None else CUT)

    def failing(self, error: Exception) -> "Attempt":
        """The same, where the commit failed: a remote step has had its effect, and a local one has none."""
        saga, at = self.held.saga, self.held.at
        effect = bool(at.step) and saga.is_remote(at.step)
        return replace(self, outcome=outcome_of(error, effect=effect), state=self.held.state, act=None)


class SagaExecutor:
    """Takes sagas of one service step by step.

    Args:
        context: the service.
        leases: of the runner.
        progress: writes what became of a step.
        slots: how many transactions may be open at once: the service's requests need connections too.
    """

    def __init__(
        self, context: "ServiceRuntime", leases: SagaLeases, progress: Progress, slots: asyncio.Semaphore
    ) -> None:
        self._context = context
        self._leases = leases
        self._progress = progress
        self._slots = slots
        self.outcomes: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()

    async def advance(self, held: ClaimedSaga) -> None:
        """Go on until the saga rests, ends or is lost to another process."""
        going: ClaimedSaga | None = held
        try:
            while going is not None:
                going = await self._once(going)
        except WrittenBefore:
            await self._let_go(going or held)
        except LeaseLost:
            logger.warning("saga taken over", saga=held.saga.name, saga_id=held.saga_id)
        except Exception:
            # Its progress can't be written: the lease runs out, and somebody takes it up where it was.
            logger.exception("saga left to its lease", saga=held.saga.name, saga_id=held.saga_id)

    async def _let_go(self, held: ClaimedSaga) -> None:
        try:
            await self._leases.let_go(held)
        except Exception:  # its lease runs out
            logger.exception("saga left to its lease", saga=held.saga.name, saga_id=held.saga_id)

    async def _once(self, held: ClaimedSaga) -> ClaimedSaga | None:
        name = f"{held.saga.name} {held.action} {held.at.step}".rstrip()
        attributes: dict[str, Any] = {"saga.id": held.saga_id, "saga.attempt": held.at.attempts}
        span = self._context.tracing.begin(name, parent=held.trace, attributes=attributes)
        request_context.set(RequestContext(self._context.name, held.request_id, span.context))
        error: str | None = "cut_off"
        try:
            tried = await self._tried(held, span)
            going, outcome = await self._written(tried)
            error = None if outcome.kind in {"done", "open", "skipped", "cut"} else outcome.code or outcome.kind
        finally:
            span.end(error=error)
        return going

    async def _tried(self, held: ClaimedSaga, span: Span) -> Attempt:
        began = self._context.clock.now()
        outcome = self._without_attempt(held, began)
        if outcome is not None:
            return Attempt(held, outcome, held.state, began)
        if not held.at.step:
            return Attempt(held, DONE, held.state, began)
        step = held.saga.step(held.at.step)
        act: Any = step.do if held.action == "do" else step.undo
        if held.saga.is_remote(held.at.step, held.action):
            return await self._called(held, act, span, began)
        return Attempt(held, DONE, held.state, began, act)

    def _without_attempt(self, held: ClaimedSaga, now: datetime) -> Outcome | None:
        """The outcome, where no attempt is to be made."""
        if held.at.status != "running":
            return SKIPPED if held.at.skip else None
        if held.at.skip:
            return self._without_taking_back(held)
        if (late := held.late(now)) is not None:
            why = deadline_passed(held.at, late)
            return Outcome("late", why.reason, why.code)
        if held.at.why is None:
            return None
        # An outcome that is still open is asked for once more; after a failure the undoing itself makes sure.
        still_open = held.saga.is_remote(held.at.step) and held.at.begun_before and not held.at.failures
        return None if still_open else CUT

    def _without_taking_back(self, held: ClaimedSaga) -> Outcome | None:
        """The outcome of a step that is passed over, where nothing of it is to be taken back first."""
        if held.at.why is not None:
            return CUT  # it is undone with the others
        return None if needs_undo_before_skip(held.saga, held.at) else SKIPPED

    async def _called(self, held: ClaimedSaga, act: Act, span: Span, began: datetime) -> Attempt:
        """Call the others, with no transaction open."""
        within = held.saga.step(held.at.step).within.total_seconds()
        calls = self._context.calls(
            deadline=asyncio.get_running_loop().time() + within,
            timeout=within,
            key=f"{held.saga_id}/{held.at.step}/{held.action}",
            trace=span.context,
            request_id=held.request_id,
        )
        try:
            async with asyncio.timeout(within):
                changed = await act(held.state, calls)
        except Exception as error:  # noqa: BLE001  whatever a step raises is its outcome
            self._tell(held, error)
            return Attempt(held, outcome_of(error, effect=calls.in_doubt), held.state, began)
        return Attempt(held, DONE, changed or held.state, began)

    async def _written(self, tried: Attempt) -> tuple[ClaimedSaga | None, Outcome]:
        """Write what became of an attempt, whatever happens meanwhile; what is held then, and how it ended at last."""
        try:
            return await self._persistently(tried), tried.outcome
        except AskedMeanwhile as asked:
            return await self._written(tried.knowing(asked.why))
        except EndFailed as failed:
            self._tell(tried.held, failed.__cause__)
            return await self._persistently(tried, end=False), tried.outcome
        except (LeaseLost, WrittenBefore):
            raise
        except Exception as error:
            known = tried.outcome.kind not in {"done", "skipped"}
            if known or (tried.act is None and is_unavailable(error)):
                raise
            self._tell(tried.held, error)
            return await self._written(tried.failing(error))

    async def _persistently(self, tried: Attempt, *, end: bool = True) -> ClaimedSaga | None:
        """Commit. Retry for a few seconds after a conflict or while the database is not available."""

        async def commit() -> ClaimedSaga | None:
            async with self._slots:
                return await self._committed(tried, end=end)

        backoff = Backoff(base=0.02, limit=_LONGEST_PAUSE, jitter=1.0, draw=self._progress.backoff.draw)
        policy = RetryPolicy(tries=None, within=_PERSISTENCE, is_retryable=self._is_retryable, backoff=backoff)
        return await retry_transaction(commit, policy)

    def _is_retryable(self, error: Exception) -> bool:
        if is_retryable_conflict(error) or isinstance(error, StaleDataError):
            return True
        return is_unavailable(error) and not self._progress.closing

    async def _committed(self, tried: Attempt, *, end: bool) -> ClaimedSaga | None:
        held = tried.held
        async with self._context.unit_of_work() as work:
            state = await self._acted(tried, work)
            to = self._position(held, tried.outcome)
            if to.has_ended and not end:
                to = retry_finalizer(replace(held.at, why=to.why), self._progress.backoff)
            if to.has_ended:
                await self._end(tried, to, state, work)
            going = await self._progress.write(work, held, to, state, tried.outcome, tried.began)
            await work.commit()
        self.outcomes[tried.outcome.kind] += 1
        if to.has_ended:
            self.ended[to.status] += 1
        return going

    async def _acted(self, tried: Attempt, work: UnitOfWork) -> SagaState:
        """Do what belongs into the commit: a local step, or what a remote one records."""
        held = tried.held
        if not held.at.step:
            return tried.state
        step = held.saga.step(held.at.step)
        within = asyncio.timeout(step.within.total_seconds())
        try:
            async with within:
                state = tried.state if tried.act is None else await tried.act(tried.state, work) or tried.state
                over = held.at.status == "running" and tried.outcome.kind in {"done", "skipped"}
                if step.record is not None and over:
                    await step.record(state, work)
        except TimeoutError as error:
            if within.expired():
                raise StepTimedOut from error
            raise
        return state

    async def _end(self, tried: Attempt, to: Position, state: SagaState, work: UnitOfWork) -> None:
        try:
            await tried.held.saga.end(state, work, to.why)
        except Exception as error:
            if to.status == "done" or tried.act is not None or is_retryable_conflict(error) or is_unavailable(error):
                raise
            raise EndFailed from error

    def _position(self, held: ClaimedSaga, outcome: Outcome) -> Position:
        if outcome.kind in {"cut", "late"}:
            why = held.at.why or UndoReason(False, outcome.reason, outcome.code, held.at.step)
            effect = held.saga.is_remote(held.at.step) and held.at.begun_before
            return start_compensation(held.saga, held.at, why, effect=effect)
        late = held.late(self._context.clock.now())
        return next_position(held.saga, held.at, outcome, self._progress.backoff, late)

    def _tell(self, held: ClaimedSaga, error: BaseException | None) -> None:
        """Log an attempt that did not succeed; one that nobody foresaw with its place."""
        if isinstance(error, StepPending):
            return
        at = held.at
        told: dict[str, Any] = {
            "saga": held.saga.name,
            "saga_id": held.saga_id,
            "step": at.step,
            "attempt": at.attempts,
        }
        if isinstance(error, AbortSaga | Problem | CallError | TimeoutError | StepTimedOut):
            said = str(error) if isinstance(error, CallError) else outcome_of(error).reason
            logger.warning("saga step failed", action=held.action, error=said, **told)
        else:
            logger.error("saga step failed", action=held.action, exc_info=error, **told)
