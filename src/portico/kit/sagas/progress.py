"""Write a saga's progress, in the commit of a local step, of a remote step's `record`, or of a failure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
"""Updates a saga if its row has the expected fence and no new undo request."""

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
"""Also inserts one timeline entry, in the same statement. For databases whose UPDATE returns the changed rows."""

_MAX_ENTRIES = 20  # timeline entries of one step that fails or stays pending; the saga's row has the total


_INSERT_ENTRY = Statement(insert(saga_steps).inline())


class LeaseLost(Exception):
    """Another process has claimed the saga, because this process exceeded its lease."""


class AlreadyCommitted(Exception):
    """This progress is already stored: an earlier commit succeeded, but its acknowledgement was lost."""


class UndoRequested(Exception):
    """An undo was requested while the step was running."""

    def __init__(self, undo_reason: UndoReason) -> None:
        super().__init__(undo_reason)
        self.undo_reason = undo_reason


class ProgressConflicts(Exception):
    """Rows of some sagas of a cohort were not as expected.

    Attributes:
        errors: LeaseLost, AlreadyCommitted or UndoRequested, by the saga's position in the cohort.
    """

    def __init__(self, errors: Mapping[int, Exception]) -> None:
        super().__init__(errors)
        self.errors = errors


@dataclass(frozen=True, slots=True)
class Change:
    """What an attempt changes in its saga's row.

    Attributes:
        claimed: The saga before the attempt.
        to: Its next position.
        state: Its state after the attempt.
        outcome: The outcome of the attempt.
        started_at: When the attempt started.
    """

    claimed: ClaimedSaga
    to: Position
    state: SagaState
    outcome: Outcome
    started_at: datetime


class Progress:
    """Writes the progress of sagas for one runner.

    Args:
        clock: the current time.
        owner: identifier of the runner.
        backoff: the delays between attempts of a step.
    """

    def __init__(self, clock: Clock, owner: str, backoff: Backoff) -> None:
        self._clock = clock
        self._owner = owner
        self.backoff = backoff
        self.closing = False
        """Whether leases are released instead of renewed for the next step."""

    async def write(self, work: UnitOfWork, changes: Sequence[Change]) -> Sequence[ClaimedSaga | None]:
        """Write the sagas' next positions, and the timeline entries of the attempts, in the transaction of `work`.

        Returns:
            Each saga at its next step, whose lease is renewed in the same write; None if it waits or has ended.

        Raises:
            ProgressConflicts: rows were not as expected. Nothing may be committed.
        """
        now = self._clock.now()
        rows, following, entries = [], [], []
        for change in changes:
            claimed, to = change.claimed, change.to
            goes_on = to.wait is None and not to.has_ended and not self.closing
            position = replace(to, attempts=1) if goes_on else to
            values = self._values(claimed, position, change.state, change.outcome, now)
            if goes_on:
                lease = lease_of(claimed.saga, to.step)
                values |= {"new_owner": self._owner, "new_due_at": now + lease, "new_step_started_at": now}
            rows.append(values)
            following.append(_renewed(claimed, position, change.state, now) if goes_on else None)
            entries.append(self._entries(claimed, to, change.outcome, change.started_at, now))
        written = await self._store(work, rows, entries)
        conflicts: dict[int, Exception] = {}
        for index, (change, is_written) in enumerate(zip(changes, written, strict=True)):
            if not is_written:
                conflicts[index] = await self._conflict(work, change.claimed)
        if conflicts:
            raise ProgressConflicts(conflicts)
        return following

    async def _store(
        self, work: UnitOfWork, rows: Sequence[dict[str, Any]], entries: Sequence[list[dict[str, Any]]]
    ) -> Sequence[bool]:
        """Update the rows and add the timeline entries. Return for each row whether it was as expected."""
        if work.database.dialect == "postgresql" and len(rows) == len(entries[0]) == 1:
            entry = {f"entry_{name}": entries[0][0][name] for name in _ENTRY_COLUMNS}
            return [await work.write(UPDATE_PROGRESS_AND_TIMELINE, rows[0] | entry) == 1]
        written = await work.write_all(UPDATE_PROGRESS, rows)
        if all(written):
            await work.write_each(_INSERT_ENTRY, [entry for each in entries for entry in each])
        return written

    def _values(
        self, claimed: ClaimedSaga, to: Position, state: SagaState, outcome: Outcome, now: datetime
    ) -> dict[str, Any]:
        waits = to.wait is not None and to.step == claimed.position.step
        due_at = now if to.wait is None else claimed.due_at(now, to.wait)
        return {
            "of_saga": claimed.saga_id,
            "of_fence": claimed.fence,
            "knows_undo": claimed.position.undo_reason is not None,
            "new_state": state.to_json(),
            "new_status": to.status,
            "new_step": to.step,
            "new_done": ",".join(to.done),
            "new_attempts": to.attempts,
            "new_failures": to.failures,
            "new_in_doubt": to.in_doubt,
            "new_skip": to.skip,
            "new_undo_reason": None if to.undo_reason is None else to.undo_reason.to_json(),
            "new_error": outcome.reason or None,
            "new_owner": None,
            "new_due_at": None if to.has_ended else due_at,
            "new_step_started_at": claimed.step_started_at if waits else None,
            "new_ended_at": now if to.has_ended else None,
        }

    async def _conflict(self, work: UnitOfWork, claimed: ClaimedSaga) -> LeaseLost | AlreadyCommitted | UndoRequested:
        """Return why the row was not as expected."""
        columns = (sagas.c.fence, sagas.c.undo_reason, sagas.c.status, sagas.c.step)
        row = (await work.execute(select(*columns).where(sagas.c.saga_id == claimed.saga_id))).one_or_none()
        if row is None:
            return LeaseLost(claimed.saga_id)
        undo_reason = UndoReason.from_json(row.undo_reason)
        if row.fence == claimed.fence and undo_reason is not None:
            return UndoRequested(undo_reason)
        # A claim increases the fence but keeps the position. Only this process's own write does both in one step.
        moved = (row.status, row.step) != (claimed.position.status, claimed.position.step)
        if row.fence == claimed.fence + 1 and moved:
            return AlreadyCommitted(claimed.saga_id)
        return LeaseLost(claimed.saga_id)

    def _entries(
        self, claimed: ClaimedSaga, to: Position, outcome: Outcome, started_at: datetime, now: datetime
    ) -> list[dict[str, Any]]:
        """Return the timeline entry of this attempt, and before it one of an attempt whose lease expired."""
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
