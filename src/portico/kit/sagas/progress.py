"""Writes a saga's progress: in the commit of a local step, of what a remote one records, or of its failure."""

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Boolean, bindparam, insert, or_, select, update

from portico.kit.data.kit_tables import saga_steps, sagas
from portico.kit.data.statements import Statement
from portico.kit.data.unit_of_work import UnitOfWork
from portico.kit.foundation.backoff import Backoff
from portico.kit.sagas.leases import ClaimedSaga, lease_of
from portico.kit.sagas.outcomes import Outcome, UndoReason
from portico.kit.sagas.state import SagaState
from portico.kit.sagas.transitions import Position

if TYPE_CHECKING:
    from portico.kit.runtime.context import ServiceRuntime

_WRITTEN = (
    *("state", "status", "step", "done", "attempts", "failures", "doubt", "skip", "why", "error"),
    *("owner", "due_at", "since", "ended_at"),
)
_TOLD = ("step", "action", "attempt", "outcome", "started_at", "ended_at", "error", "actor")

_TO_MOVE = (
    update(sagas)
    .where(
        sagas.c.saga_id == bindparam("of_saga"),
        sagas.c.fence == bindparam("of_fence"),
        or_(bindparam("was_asked", type_=Boolean), sagas.c.why.is_(None)),
    )
    .values(
        {sagas.c[name]: bindparam(f"new_{name}", type_=sagas.c[name].type) for name in _WRITTEN}
        | {sagas.c.fence: sagas.c.fence + 1}
    )
)
MOVE = Statement(_TO_MOVE)
"""Takes a saga on, where it still is as its holder knows it."""

_moved = _TO_MOVE.returning(sagas.c.saga_id).cte("moved")
MOVE_AND_TELL = Statement(
    insert(saga_steps).from_select(
        ["saga_id", *_TOLD],
        select(_moved.c.saga_id, *(bindparam(f"told_{name}", type_=saga_steps.c[name].type) for name in _TOLD)),
        include_defaults=False,
    )
)
"""The same, and what the timeline is told, in one statement: for databases whose UPDATE gives back what it changed."""

_MOST_ENTRIES = 20  # of one step that fails, or whose outcome stays open; how often it has is in the saga's row


class LeaseLost(Exception):
    """Another process has the saga: this one took longer than its lease."""


class WrittenBefore(Exception):
    """This very progress was written: the commit had gone through, and its answer was lost."""


class AskedMeanwhile(Exception):
    """Somebody asked for the saga to be undone while the step was under way."""

    def __init__(self, why: UndoReason) -> None:
        super().__init__(why)
        self.why = why


class Progress:
    """Writes the progress of sagas for one runner.

    Args:
        context: the service.
        owner: who holds the lease.
        backoff: how long a step waits that failed.
    """

    def __init__(self, context: "ServiceRuntime", owner: str, backoff: Backoff) -> None:
        self._context = context
        self._owner = owner
        self.backoff = backoff
        self.closing = False
        """whether leases are handed back in place of going on with the next step"""

    async def write(
        self, work: UnitOfWork, held: ClaimedSaga, to: Position, state: SagaState, outcome: Outcome, began: datetime
    ) -> ClaimedSaga | None:
        """Write where the saga goes in the transaction of `work`, with what became of the attempt.

        Returns:
            What this process holds of it from then on: the next step, in the same write; None where it rests or ended.

        Raises:
            Overtaken: the lease was lost; nothing may be committed.
            WrittenBefore: nothing is left to be written.
            AskedMeanwhile: it is to be undone, which the caller did not know when it chose `to`.
        """
        now = self._context.clock.now()
        goes_on = to.wait is None and not to.has_ended and not self.closing
        after = replace(to, attempts=1) if goes_on else to
        values = self._values(held, after, state, outcome, now)
        if goes_on:
            values |= {"new_owner": self._owner, "new_due_at": now + lease_of(held.saga, to.step), "new_since": now}
        await work.flush()  # what the step is about is locked before the saga, as whoever asks for something locks them
        if not await self._stored(work, values, self._entries(held, to, outcome, began, now)):
            await self._explain(work, held)
        if not goes_on:
            return None
        return replace(held, state=state, at=after, fence=held.fence + 1, since=now, lost=False)

    async def _stored(self, work: UnitOfWork, values: dict[str, Any], entries: list[dict[str, Any]]) -> bool:
        """Whether the row was as expected and is written, with what the timeline is told."""
        if work.database.dialect == "postgresql" and len(entries) == 1:
            told = {f"told_{name}": entries[0][name] for name in _TOLD}
            return await work.write(MOVE_AND_TELL, values | told) == 1
        next_position = await work.write(MOVE, values) == 1
        if next_position and entries:
            await work.execute(insert(saga_steps), entries)
        return next_position

    def _values(
        self, held: ClaimedSaga, to: Position, state: SagaState, outcome: Outcome, now: datetime
    ) -> dict[str, Any]:
        waits = to.wait is not None and to.step == held.at.step
        due_at = now if to.wait is None else held.due_at(now, to.wait)
        return {
            "of_saga": held.saga_id,
            "of_fence": held.fence,
            "was_asked": held.at.why is not None,
            "new_state": state.dumped(),
            "new_status": to.status,
            "new_step": to.step,
            "new_done": ",".join(to.done),
            "new_attempts": to.attempts,
            "new_failures": to.failures,
            "new_doubt": to.doubt,
            "new_skip": to.skip,
            "new_why": None if to.why is None else to.why.dumped(),
            "new_error": outcome.reason or None,
            "new_owner": None,
            "new_due_at": None if to.has_ended else due_at,
            "new_since": held.since if waits else None,
            "new_ended_at": now if to.has_ended else None,
        }

    async def _explain(self, work: UnitOfWork, held: ClaimedSaga) -> None:
        """Why the row was not as expected. Raises Overtaken, WrittenBefore or AskedMeanwhile."""
        columns = (sagas.c.fence, sagas.c.why, sagas.c.status, sagas.c.step)
        row = (await work.execute(select(*columns).where(sagas.c.saga_id == held.saga_id))).one_or_none()
        if row is None:
            raise LeaseLost(held.saga_id)
        why = UndoReason.loaded(row.why)
        if row.fence == held.fence and why is not None:
            raise AskedMeanwhile(why)
        # Whoever takes it over takes it where it was; only this one's own write can have moved it in one go.
        next_position = (row.status, row.step) != (held.at.status, held.at.step)
        if row.fence == held.fence + 1 and next_position:
            raise WrittenBefore(held.saga_id)
        raise LeaseLost(held.saga_id)

    def _entries(
        self, held: ClaimedSaga, to: Position, outcome: Outcome, began: datetime, now: datetime
    ) -> list[dict[str, Any]]:
        """What the timeline is told: how an attempt ended, and before that of one that was cut off."""
        entry = {"saga_id": held.saga_id, "step": held.at.step, "action": held.action, "actor": None}
        entries: list[dict[str, Any]] = []
        if held.lost and held.at.attempts <= _MOST_ENTRIES:
            lost = {"attempt": held.at.attempts - 1, "outcome": "lost", "error": "Its process ended or was too slow"}
            entries.append(entry | lost | {"started_at": held.since, "ended_at": began})
        in_vain = held.at.attempts if outcome.kind == "open" else to.failures
        told = outcome.kind not in {"skipped", "cut"} and in_vain <= _MOST_ENTRIES
        if told and (outcome.kind != "done" or held.at.step):
            ended = {"attempt": held.at.attempts, "outcome": outcome.kind, "error": outcome.reason or None}
            entries.append(entry | ended | {"started_at": began, "ended_at": now})
        return entries
