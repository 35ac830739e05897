"""Requests to a saga: start it, undo it, retry its step now, skip its step."""

from datetime import timedelta
from enum import StrEnum
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import insert, select, update

from portico.kit.auth.principal import Principal
from portico.kit.data.kit_tables import saga_steps, sagas
from portico.kit.data.statements import Statement
from portico.kit.data.unit_of_work import UnitOfWork
from portico.kit.sagas.definition import NoSuchStep, Saga
from portico.kit.sagas.errors import PastNoReturn, SagaEnded, SagaNotFound, SagaOfAnotherVersion, StepUnderWay
from portico.kit.sagas.outcomes import MAX_REASON_LENGTH, UndoReason
from portico.kit.sagas.state import SagaId, SagaState
from portico.kit.telemetry.context import request_context
from portico.kit.telemetry.trace_context import TraceContext

S = TypeVar("S", bound=SagaState)

WAKEUP = "sagas"
"""Name of the notification with which a commit wakes the saga runner of this process."""

_ENDED = ("done", "undone")
_START = Statement(insert(sagas))


class UndoTiming(StrEnum):
    """When a saga is undone after `request_undo`."""

    NOW = "now"
    AFTER_STEP = "after_step"
    """A step is running: it is undone once the step's outcome is known."""
    ALREADY_REQUESTED = "already_requested"


async def start_saga(
    work: UnitOfWork, saga: Saga[S], state: S, *, subject: str, deadline: timedelta | None = None
) -> SagaId:
    """Start a saga in the caller's transaction. It runs once the transaction is committed.

    Args:
        work: the transaction.
        saga: the definition.
        state: the state that the first step receives.
        subject: identifier of the saga's resource, such as an order id; at most 64 characters.
        deadline: time until the point of no return; None for that of the definition.
    """
    saga_id, context = SagaId.new(), request_context.get()
    row = {
        "saga_id": saga_id,
        "name": saga.name,
        "subject": subject,
        "state": state.to_json(),
        "status": "running",
        "step": saga.steps[0].name,
        "done": "",
        "attempts": 0,
        "failures": 0,
        "in_doubt": False,
        "skip": False,
        "fence": 0,
        "due_at": work.now,
        "deadline_at": work.now + (saga.deadline if deadline is None else deadline),
        "started_at": work.now,
        "trace": str((None if context is None else context.trace) or TraceContext.new()),
        "request_id": None if context is None else context.request_id,
    }
    await work.write_each(_START, [row])
    work.after_commit(partial(work.database.wake, WAKEUP))
    return saga_id


async def request_undo(
    work: UnitOfWork, saga: Saga[Any], subject: str, *, reason: str, code: str = "cancelled"
) -> UndoTiming:
    """Request the undo of the newest saga of this definition for `subject`, in the caller's transaction.

    A running step ends first, so that its outcome is known. Then the steps are undone in reverse order.

    Args:
        work: the transaction.
        saga: the definition.
        subject: subject with which the saga was started.
        reason: a sentence for people, passed to `when_undone`.
        code: a word for programs, passed to `when_undone`.

    Raises:
        SagaNotFound: there is no such saga.
        SagaEnded: the saga is already done or undone.
        PastNoReturn: the saga has passed its point of no return.
        SagaOfAnotherVersion: the saga is at a step that this version does not have.
    """
    row = await _lock_newest(work, (sagas.c.name == saga.name) & (sagas.c.subject == subject), subject)
    if row.undo_reason is not None:
        return UndoTiming.ALREADY_REQUESTED
    try:
        step = saga.step(row.step)
    except NoSuchStep as error:
        raise SagaOfAnotherVersion(subject=subject) from error
    if step.only_forward:
        raise PastNoReturn(saga_id=row.saga_id, step=row.step)
    undo_reason = UndoReason(requested=True, reason=reason[:MAX_REASON_LENGTH], code=code)
    is_waiting = row.owner is None
    values = {"undo_reason": undo_reason.to_json(), "due_at": work.now if is_waiting else row.due_at}
    await work.execute(update(sagas).where(sagas.c.saga_id == row.saga_id).values(values))
    await _record_request(work, row, "cancel", actor=None, reason=reason)
    return UndoTiming.NOW if is_waiting and (not row.attempts or row.failures) else UndoTiming.AFTER_STEP


async def retry_now(work: UnitOfWork, saga_id: SagaId, *, by: Principal, reason: str = "") -> None:
    """Retry immediately the step that a saga is waiting for.

    Raises:
        SagaNotFound: there is no such saga.
        SagaEnded: the saga has ended.
        StepUnderWay: an attempt is running.
    """
    row = await _lock_waiting(work, saga_id)
    await work.execute(update(sagas).where(sagas.c.saga_id == saga_id).values(due_at=work.now))
    await _record_request(work, row, "retry", actor=by.subject, reason=reason)


async def skip(work: UnitOfWork, saga_id: SagaId, *, by: Principal, reason: str) -> None:
    """Skip the step a saga is waiting for (forward or compensation), because an operator has done it manually.

    If the saga runs forward, a remote step that was attempted is undone first, by its key, so that a late request has
    no effect. Then the step's `record` runs as if the step had succeeded. The operator must also write the effects of a
    local step manually.

    Raises:
        SagaNotFound: there is no such saga.
        SagaEnded: the saga has ended.
        StepUnderWay: an attempt is running.
    """
    row = await _lock_waiting(work, saga_id)
    await work.execute(update(sagas).where(sagas.c.saga_id == saga_id).values(due_at=work.now, skip=True))
    await _record_request(work, row, "skip", actor=by.subject, reason=reason)


async def _lock_waiting(work: UnitOfWork, saga_id: SagaId) -> Any:
    row = await _lock_newest(work, sagas.c.saga_id == saga_id, saga_id)
    if row.owner is not None and row.due_at > work.now:
        raise StepUnderWay(saga_id=saga_id, step=row.step)
    return row


async def _lock_newest(work: UnitOfWork, condition: Any, subject: str) -> Any:
    """Lock and return the row of the newest saga that matches. Raises SagaNotFound, SagaEnded."""
    newest = select(sagas).where(condition).order_by(sagas.c.saga_id.desc()).limit(1)
    row = (await work.execute(newest.with_for_update())).one_or_none()
    if row is None:
        raise SagaNotFound(subject=subject)
    if row.status in _ENDED:
        raise SagaEnded(saga_id=row.saga_id, ended_as=row.status)
    return row


async def _record_request(work: UnitOfWork, row: Any, action: str, *, actor: str | None, reason: str) -> None:
    """Add the request to the saga's timeline, and wake the runner after the commit."""
    await work.execute(
        insert(saga_steps).values(
            saga_id=row.saga_id,
            step=row.step,
            action=action,
            attempt=row.attempts,
            outcome="requested",
            started_at=work.now,
            ended_at=work.now,
            error=reason[:MAX_REASON_LENGTH] or None,
            actor=actor,
        )
    )
    work.after_commit(partial(work.database.wake, WAKEUP))
