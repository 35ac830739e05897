"""Writes a saga's progress, in the commit of a local step, of a remote step's `record`, or of a failure."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Boolean, bindparam, insert, or_, select, update

from portico.kit.data.kit_tables import saga_steps, sagas
from portico.kit.data.statements import Statement
from portico.kit.data.unit_of_work import UnitOfWork
from portico.kit.foundation.backoff import Backoff
from portico.kit.foundation.clock import Clock
from portico.kit.sagas.leases import ClaimedSaga, lease_of
from portico.kit.sagas.outcomes import Outcome, UndoReason
from portico.kit.sagas.state import SagaState
from portico.kit.sagas.transitions import Position

_COLUMNS = (
    *("state", "status", "step", "done", "attempts", "failures", "in_doubt", "skip", "undo_reason", "error"),
    *("owner", "due_at", "step_started_at", "ended_at"),
)
_ENTRY_COLUMNS = ("step", "action", "attempt", "outcome", "started_at", "ended_at", "error", "actor")

_UPDATE = (
    update(sagas)
    .where(
        sagas.c.saga_id == bindparam("of_saga"),
        sagas.c.fence == bindparam("of_fence"),
        or_(bindparam("knows_undo", type_=Boolean), sagas.c.undo_reason.is_(None)),
    )
    .values(
        {sagas.c[name]: bindparam(f"new_{name}", type_=sagas.c[name].type) for name in _COLUMNS}
        | {sagas.c.fence: sagas.c.fence + 1}
    )
)
UPDATE_PROGRESS = Statement(_UPDATE)
"""Updates a saga if its row has the expected fence, and no undo was requested that its owner does not know."""

_updated = _UPDATE.returning(sagas.c.saga_id).cte("updated")
UPDATE_PROGRESS_AND_TIMELINE = Statement(
    insert(saga_steps).from_select(
        ["saga_id", *_ENTRY_COLUMNS],
        select(
            _updated.c.saga_id,
            *(bindparam(f"entry_{name}", type_=saga_steps.c[name].type) for name in _ENTRY_COLUMNS),
        ),
        include_defaults=False,
    )
)
"""The same with one timeline entry, in one statement: for databases whose UPDATE returns the changed rows."""

_MAX_ENTRIES = 20  # of one step that fails or stays pending; the saga's row has the total


class LeaseLost(Exception):
    """Another process has claimed the saga, because this one exceeded its lease."""


class AlreadyCommitted(Exception):
    """This progress is already stored: the commit succeeded, and its acknowledgement was lost."""


class UndoRequested(Exception):
    """An undo was requested while the step was running."""

    def __init__(self, undo_reason: UndoReason) -> None:
        super().__init__(undo_reason)
        self.undo_reason = undo_reason


class Progress:
    """Writes the progress of sagas for one runner.

    Args:
        clock: the time.
        owner: identifier of the runner.
        backoff: the delays between attempts of a step.
    """

    def __init__(self, clock: Clock, owner: str, backoff: Backoff) -> None:
        self._clock = clock
        self._owner = owner
        self.backoff = backoff
        self.closing = False
        """Whether leases are released instead of kept for the next step."""

    async def write(
        self,
        work: UnitOfWork,
        claimed: ClaimedSaga,
        to: Position,
        state: SagaState,
        outcome: Outcome,
        started_at: datetime,
    ) -> ClaimedSaga | None:
        """Write the saga's next position, and the attempt's timeline entry, in the transaction of `work`.

        Args:
            work: the transaction.
            claimed: the saga before the attempt.
            to: its next position.
            state: its state after the attempt.
            outcome: of the attempt.
            started_at: when the attempt started.

        Returns:
            The saga at its next step, whose lease is renewed in the same write; None if it waits or has ended.

        Raises:
            LeaseLost: nothing may be committed.
            AlreadyCommitted: nothing is left to write.
            UndoRequested: the saga is to be undone, which the caller did not know when it chose `to`.
        """
        now = self._clock.now()
        goes_on = to.wait is None and not to.has_ended and not self.closing
        following = replace(to, attempts=1) if goes_on else to
        values = self._values(claimed, following, state, outcome, now)
        if goes_on:
            lease = lease_of(claimed.saga, to.step)
            values |= {"new_owner": self._owner, "new_due_at": now + lease, "new_step_started_at": now}
        await work.flush()  # lock order: the service's rows before the saga's row, as in requests about sagas
        if not await self._store(work, values, self._entries(claimed, to, outcome, started_at, now)):
            await self._explain_conflict(work, claimed)
        return _renewed(claimed, following, state, now) if goes_on else None

    async def _store(self, work: UnitOfWork, values: dict[str, Any], entries: list[dict[str, Any]]) -> bool:
        """Update the row and add the timeline entries. Return whether the row was as expected."""
        if work.database.dialect == "postgresql" and len(entries) == 1:
            entry = {f"entry_{name}": entries[0][name] for name in _ENTRY_COLUMNS}
            return await work.write(UPDATE_PROGRESS_AND_TIMELINE, values | entry) == 1
        updated = await work.write(UPDATE_PROGRESS, values) == 1
        if updated and entries:
            await work.execute(insert(saga_steps), entries)
        return updated

    def _values(
        self, claimed: ClaimedSaga, to: Position, state: SagaState, outcome: Outcome, now: datetime
    ) -> dict[str, Any]:
        waits = to.wait is not None and to.step == claimed.position.step
        due_at = now if to.wait is None else claimed.due_at(now, to.wait)
        return {
            "of_saga": claimed.saga_id,
            "of_fence": claimed.fence,
            "knows_undo": claimed.position.undo_reason is not None,
            "new_state": state.dumped(),
            "new_status": to.status,
            "new_step": to.step,
            "new_done": ",".join(to.done),
            "new_attempts": to.attempts,
            "new_failures": to.failures,
            "new_in_doubt": to.in_doubt,
            "new_skip": to.skip,
            "new_undo_reason": None if to.undo_reason is None else to.undo_reason.dumped(),
            "new_error": outcome.reason or None,
            "new_owner": None,
            "new_due_at": None if to.has_ended else due_at,
            "new_step_started_at": claimed.step_started_at if waits else None,
            "new_ended_at": now if to.has_ended else None,
        }

    async def _explain_conflict(self, work: UnitOfWork, claimed: ClaimedSaga) -> None:
        """Find out why the row was not as expected. Raises LeaseLost, AlreadyCommitted or UndoRequested."""
        columns = (sagas.c.fence, sagas.c.undo_reason, sagas.c.status, sagas.c.step)
        row = (await work.execute(select(*columns).where(sagas.c.saga_id == claimed.saga_id))).one_or_none()
        if row is None:
            raise LeaseLost(claimed.saga_id)
        undo_reason = UndoReason.loaded(row.undo_reason)
        if row.fence == claimed.fence and undo_reason is not None:
            raise UndoRequested(undo_reason)
        # A claim increases the fence but keeps the position. Only this process's own write does both in one step.
        moved = (row.status, row.step) != (claimed.position.status, claimed.position.step)
        if row.fence == claimed.fence + 1 and moved:
            raise AlreadyCommitted(claimed.saga_id)
        raise LeaseLost(claimed.saga_id)

    def _entries(
        self, claimed: ClaimedSaga, to: Position, outcome: Outcome, started_at: datetime, now: datetime
    ) -> list[dict[str, Any]]:
        """Return the timeline entries: of this attempt, and before it of an attempt whose lease expired."""
        position = claimed.position
        common = {"saga_id": claimed.saga_id, "step": position.step, "action": claimed.action, "actor": None}
        entries: list[dict[str, Any]] = []
        if claimed.lease_expired and position.attempts <= _MAX_ENTRIES:
            error = "Its process ended or exceeded its lease"
            lost = {"attempt": position.attempts - 1, "outcome": "lost", "error": error}
            entries.append(common | lost | {"started_at": claimed.step_started_at, "ended_at": started_at})
        unsuccessful = position.attempts if outcome.kind == "pending" else to.failures
        is_recorded = outcome.kind not in {"skipped", "aborted"} and unsuccessful <= _MAX_ENTRIES
        if is_recorded and (outcome.kind != "done" or position.step):
            ended = {"attempt": position.attempts, "outcome": outcome.kind, "error": outcome.reason or None}
            entries.append(common | ended | {"started_at": started_at, "ended_at": now})
        return entries


def _renewed(claimed: ClaimedSaga, position: Position, state: SagaState, now: datetime) -> ClaimedSaga:
    """Return the saga at its next step, with the fence of its new lease."""
    fence = claimed.fence + 1
    return replace(
        claimed,
        state=state,
        position=position,
        fence=fence,
        step_started_at=now,
        lease_expired=False,
        last_error=None,
    )
