"""Leases on sagas: a process claims due sagas in batches, and releases them when it stops."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, cast

from sqlalchemy import Boolean, ColumnElement, CursorResult, Integer, bindparam, case, func, or_, select, update

from portico.kit.data.kit_tables import sagas
from portico.kit.data.statements import Statement, is_due
from portico.kit.foundation.clock import latest_due, seconds_until
from portico.kit.sagas.definition import NoSuchStep, Saga
from portico.kit.sagas.outcomes import UndoReason
from portico.kit.sagas.state import SagaId, SagaState
from portico.kit.sagas.transitions import Deadline, Position, needs_undo_before_skip
from portico.kit.service_context import ServiceContext
from portico.kit.telemetry.trace_context import TraceContext

LEASE_MARGIN = timedelta(seconds=5)
"""How much longer a lease is than its step's time limit. Otherwise other processes would claim slow steps."""

_NEXT_DUE = Statement(select(func.min(sagas.c.due_at)).where(sagas.c.due_at.is_not(None)))
_DUE = (
    select(sagas)
    .where(is_due(sagas.c.due_at), sagas.c.name.in_(bindparam("names", expanding=True)))
    .order_by(sagas.c.due_at)
    .limit(bindparam("max_rows", type_=Integer))
    .with_for_update(skip_locked=True)
)
_CLAIM = Statement(
    update(sagas)
    .where(sagas.c.saga_id == bindparam("of_saga"))
    .values(
        owner=bindparam("new_owner"),
        due_at=bindparam("until"),
        fence=sagas.c.fence + 1,
        attempts=sagas.c.attempts + 1,
        in_doubt=or_(sagas.c.in_doubt, bindparam("expired", type_=Boolean)),
        step_started_at=func.coalesce(sagas.c.step_started_at, bindparam("now", type_=sagas.c.step_started_at.type)),
    )
)

_due = _DUE.cte("due")
_CLAIM_DUE = (
    update(sagas)
    .where(sagas.c.saga_id == _due.c.saga_id)
    .values(
        owner=bindparam("new_owner"),
        fence=sagas.c.fence + 1,
        attempts=sagas.c.attempts + 1,
        in_doubt=or_(_due.c.in_doubt, _due.c.owner.is_not(None)),
        step_started_at=func.coalesce(_due.c.step_started_at, bindparam("now", type_=sagas.c.step_started_at.type)),
    )
    .returning(*_due.c)
)
"""Selects and claims due sagas in one statement, and returns their rows as they were before the claim.

For databases whose UPDATE can join a locking SELECT.
"""

_UNKNOWN_STEP_LEASE = timedelta(seconds=5)  # lease on a step of another version, which is released at once


@dataclass(frozen=True, slots=True)
class ClaimedSaga:
    """A saga in the state in which this process claimed it or last wrote its progress.

    Attributes:
        saga: Its definition.
        saga_id: Its identifier.
        subject: The identifier of its resource.
        state: The state that its steps receive.
        position: Its position, including the current attempt.
        fence: The fencing token that its row must still have.
        step_started_at: When the first attempt of this step started.
        deadline_at: The time by which it must reach its point of no return.
        lease_expired: Whether the previous owner's lease expired: that process died or was too slow.
        trace: Trace context of the request that started it.
        request_id: Identifier of the request that started it.
        last_error: The reason of the step's last failure, if any.
    """

    saga: Saga[Any]
    saga_id: SagaId
    subject: str
    state: SagaState
    position: Position
    fence: int
    step_started_at: datetime
    deadline_at: datetime
    lease_expired: bool
    trace: TraceContext | None
    request_id: str | None
    last_error: str | None = None

    @property
    def action(self) -> str:
        """The current action: `do`, `undo` or `end`."""
        if self.position.status == "running":
            return "undo" if needs_undo_before_skip(self.saga, self.position) else "do"
        return "undo" if self.position.step else "end"

    def exceeded_deadline(self, now: datetime) -> Deadline | None:
        """Return which deadline is exceeded, if any."""
        if not self._has_deadline:
            return None
        if now >= self.deadline_at:
            return "saga"
        step_deadline = self._step_deadline
        return "step" if step_deadline is not None and now >= step_deadline else None

    def due_at(self, now: datetime, wait: float) -> datetime:
        """Return when to retry this step: after `wait` seconds, but not after a deadline."""
        due = now + timedelta(seconds=wait)
        if not self._has_deadline:
            return due
        return min(due, max(now, min(self.deadline_at, self._step_deadline or self.deadline_at)))

    @property
    def _has_deadline(self) -> bool:
        return self.position.status == "running" and not self.saga.step(self.position.step).only_forward

    @property
    def _step_deadline(self) -> datetime | None:
        """The step's deadline; None if it has none or is skipped."""
        deadline = self.saga.step(self.position.step).deadline
        return None if deadline is None or self.position.skip else self.step_started_at + deadline


class SagaLeases:
    """The leases of one runner on the sagas of one service.

    Args:
        context: the service.
        known: the service's sagas, by name.
        owner: identifier of the runner.
    """

    def __init__(self, context: ServiceContext, known: Mapping[str, Saga[Any]], owner: str) -> None:
        self._context = context
        self._known = known
        self.owner = owner
        leases = [lease_of(saga, step) for saga in known.values() for step in ("", *(each.name for each in saga.steps))]
        self._leases = sorted({*leases, _UNKNOWN_STEP_LEASE})
        self._claim_due = Statement(_CLAIM_DUE.values(due_at=self._end_of_lease(known)))
        self._max_wait = max([timedelta(seconds=context.settings.saga_retry_limit), _UNKNOWN_STEP_LEASE, *leases])

    async def seconds_until_due(self) -> float | None:
        """Return the seconds until the next saga is due or its lease expires; None if all have ended."""
        async with self._context.reader() as reader:
            due_at = cast("datetime | None", (await reader.rows(_NEXT_DUE, {}))[0][0])
            return None if due_at is None else seconds_until(due_at, reader.now, max_wait=self._max_wait)

    async def claim(self, limit: int) -> Sequence[Any]:
        """Claim up to `limit` due sagas, without waiting for locked rows. Return their rows as they were before."""
        now = self._context.clock.now()
        due = {"now": now, "latest": latest_due(now, self._max_wait), "names": list(self._known), "max_rows": limit}
        async with self._context.transaction() as work:
            if work.database.dialect == "postgresql":
                ends = {f"until_{number}": now + lease for number, lease in enumerate(self._leases)}
                rows = await work.rows(self._claim_due, {**due, **ends, "new_owner": self.owner})
                return sorted(rows, key=attrgetter("due_at", "saga_id"))
            rows = await work.rows(_DUE, due)
            await work.write_each(_CLAIM, [self._claim_of(row, now) for row in rows])
        return rows

    def _end_of_lease(self, known: Mapping[str, Saga[Any]]) -> ColumnElement[datetime]:
        """Return the end of a lease as SQL, because it depends on the saga and its step."""
        until = {
            lease: bindparam(f"until_{number}", type_=sagas.c.due_at.type) for number, lease in enumerate(self._leases)
        }
        whens = [
            ((sagas.c.name == saga.name) & (sagas.c.step == step), until[lease_of(saga, step)])
            for saga in known.values()
            for step in ("", *(each.name for each in saga.steps))
        ]
        return case(*whens, else_=until[_UNKNOWN_STEP_LEASE])

    def _claim_of(self, row: Any, now: datetime) -> dict[str, Any]:
        until = now + self._lease_of(row)
        expired = row.owner is not None
        return {"of_saga": row.saga_id, "new_owner": self.owner, "until": until, "expired": expired, "now": now}

    def _lease_of(self, row: Any) -> timedelta:
        try:
            return lease_of(self._known[row.name], row.step)
        except NoSuchStep:
            return _UNKNOWN_STEP_LEASE

    def load(self, row: Any) -> ClaimedSaga:
        """Return a claimed row as a saga.

        Raises:
            NoSuchStep: this version does not have the saga's step.
            ValidationError: this version cannot read the saga's state.
        """
        saga = self._known[row.name]
        if row.step:
            saga.step(row.step)
        return ClaimedSaga(
            saga=saga,
            saga_id=SagaId(row.saga_id),
            subject=row.subject,
            state=saga.state.model_validate_json(row.state),
            position=Position(
                row.status,
                row.step,
                tuple(row.done.split(",")) if row.done else (),
                attempts=row.attempts + 1,
                failures=row.failures,
                in_doubt=row.in_doubt or row.owner is not None,
                undo_reason=UndoReason.from_json(row.undo_reason),
                skip=row.skip,
            ),
            fence=row.fence + 1,
            step_started_at=row.step_started_at or self._context.clock.now(),
            deadline_at=row.deadline_at,
            lease_expired=row.owner is not None,
            trace=TraceContext.parse(row.trace),
            request_id=row.request_id,
            last_error=row.error,
        )

    async def release_committed(self, claimed: ClaimedSaga) -> None:
        """Release a saga whose last commit succeeded although its acknowledgement was lost. It continues from there."""
        mine = (
            (sagas.c.saga_id == claimed.saga_id) & (sagas.c.owner == self.owner) & (sagas.c.fence == claimed.fence + 1)
        )
        values = {"owner": None, "due_at": self._context.clock.now(), "fence": claimed.fence + 2}
        async with self._context.transaction() as work:
            await work.execute(update(sagas).where(mine).values(values))

    async def release_unreadable(self, row: Any, error: str, wait: float) -> None:
        """Release a claimed saga that this version cannot read, for a process of another version.

        Args:
            row: the claimed row.
            error: the reason, stored in the row.
            wait: seconds until it is due again.
        """
        due_at = self._context.clock.now() + timedelta(seconds=wait)
        values = {"owner": None, "due_at": due_at, "failures": row.failures + 1, "error": error, "fence": row.fence + 2}
        mine = (sagas.c.saga_id == row.saga_id) & (sagas.c.fence == row.fence + 1)
        async with self._context.transaction() as work:
            await work.execute(update(sagas).where(mine).values(values))

    async def release_all(self) -> int:
        """Release all sagas of this runner, so that others can claim them at once. Return how many there were.

        Their running steps were cancelled, and may have had an effect.
        """
        mine = (sagas.c.due_at.is_not(None)) & (sagas.c.owner == self.owner)
        values = {"owner": None, "in_doubt": True, "due_at": self._context.clock.now(), "fence": sagas.c.fence + 1}
        async with self._context.transaction() as work:
            result = cast("CursorResult[Any]", await work.execute(update(sagas).where(mine).values(values)))
            return result.rowcount


def lease_of(saga: Saga[Any], step: str) -> timedelta:
    """Return the duration of a lease on a saga at this step. Raises NoSuchStep."""
    return (saga.step(step).within if step else timedelta(0)) + LEASE_MARGIN
