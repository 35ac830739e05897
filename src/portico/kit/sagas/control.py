"""What people may ask of a saga: to undo it, to try a step again now, to pass over one."""

from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select, update

from portico.kit.auth.principal import Principal
from portico.kit.data.kit_tables import saga_steps, sagas
from portico.kit.data.unit_of_work import UnitOfWork
from portico.kit.sagas.errors import PastNoReturn, SagaEnded, SagaNotFound, StepUnderWay
from portico.kit.sagas.outcomes import UndoReason
from portico.kit.sagas.state import SagaId

if TYPE_CHECKING:
    from portico.kit.sagas.definition import Saga

BELL = "sagas"
"""What a commit rings to wake the runner of this process."""

_LONGEST = 500
_ENDED = ("done", "undone")


class Asked(StrEnum):
    """When a saga that was asked to be undone will be."""

    NOW = "now"
    AFTER_STEP = "after_step"
    """A step is under way: its outcome is waited for, then it is undone too."""
    ALREADY = "already"
    """It was going to be."""


async def ask_to_undo(saga: "Saga[Any]", work: UnitOfWork, subject: str, *, reason: str, code: str) -> Asked:
    """See `Saga.ask_to_undo`."""
    row = await _locked(work, (sagas.c.name == saga.name) & (sagas.c.subject == subject), subject)
    if row.why is not None:
        return Asked.ALREADY
    if saga.step(row.step).only_forward:
        raise PastNoReturn(saga_id=row.saga_id, step=row.step)
    why = UndoReason(asked=True, reason=reason[:_LONGEST], code=code)
    waiting = row.owner is None
    due_at = work.now if waiting else row.due_at
    await work.execute(update(sagas).where(sagas.c.saga_id == row.saga_id).values(why=why.dumped(), due_at=due_at))
    await _audit(work, row, "cancel", actor=None, reason=reason)
    return Asked.NOW if waiting and (not row.attempts or row.failures) else Asked.AFTER_STEP


async def retry_now(work: UnitOfWork, saga_id: SagaId, *, by: Principal, reason: str = "") -> None:
    """Have a saga that waits for another attempt make it at once.

    Raises:
        SagaNotFound: there is no such saga.
        SagaEnded: nothing is left to try.
        StepUnderWay: the attempt is being made.
    """
    row = await _waiting(work, saga_id)
    await work.execute(update(sagas).where(sagas.c.saga_id == saga_id).values(due_at=work.now))
    await _audit(work, row, "retry", actor=by.subject, reason=reason)


async def skip(work: UnitOfWork, saga_id: SagaId, *, by: Principal, reason: str) -> None:
    """Have a saga pass over the step that it waits for, forward or back: somebody did by hand what it does.

    On the way forward, what a remote step may have begun is undone first, by its key: it is not to come on top. Then what
    the step records is written as if it had done it; what a local one writes itself was to be done by hand too. Raises
    what `retry_now` does.
    """
    row = await _waiting(work, saga_id)
    await work.execute(update(sagas).where(sagas.c.saga_id == saga_id).values(due_at=work.now, skip=True))
    await _audit(work, row, "skip", actor=by.subject, reason=reason)


async def _waiting(work: UnitOfWork, saga_id: SagaId) -> Any:
    row = await _locked(work, sagas.c.saga_id == saga_id, saga_id)
    if row.owner is not None and row.due_at > work.now:
        raise StepUnderWay(saga_id=saga_id, step=row.step)
    return row


async def _locked(work: UnitOfWork, condition: Any, subject: str) -> Any:
    """The row of the newest saga for which this holds, locked. Raises SagaNotFound, SagaEnded."""
    found = await work.execute(
        select(sagas).where(condition).order_by(sagas.c.saga_id.desc()).limit(1).with_for_update()
    )
    row = found.one_or_none()
    if row is None:
        raise SagaNotFound(subject=subject)
    if row.status in _ENDED:
        raise SagaEnded(saga_id=row.saga_id, ended_as=row.status)
    return row


async def _audit(work: UnitOfWork, row: Any, action: str, *, actor: str | None, reason: str) -> None:
    await work.execute(
        insert(saga_steps).values(
            saga_id=row.saga_id,
            step=row.step,
            action=action,
            attempt=row.attempts,
            outcome="asked",
            started_at=work.now,
            ended_at=work.now,
            error=reason[:_LONGEST] or None,
            actor=actor,
        )
    )
    work.after_commit(partial(work.database.ring, BELL))
