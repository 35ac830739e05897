"""Writes a saga's progress: in the commit of a local step, of what a remote one records, or of its failure."""

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import CursorResult, insert, select, update

from portico.kit.data.kit_tables import saga_steps, sagas
from portico.kit.data.work import UnitOfWork
from portico.kit.sagas.held import Held, lease_of
from portico.kit.sagas.moves import Backoff, Position
from portico.kit.sagas.outcomes import Outcome, Undone
from portico.kit.sagas.state import SagaState

if TYPE_CHECKING:
    from portico.kit.running import Running

_MOST_ENTRIES = 20  # of one step that fails; how often it has is in the saga's row


class Overtaken(Exception):
    """Another process has the saga: this one took longer than its lease."""


class AskedMeanwhile(Exception):
    """Somebody asked for the saga to be undone while the step was under way."""

    def __init__(self, why: Undone) -> None:
        super().__init__(why)
        self.why = why


class Progress:
    """Writes the progress of sagas for one runner.

    Args:
        running: the service.
        owner: who holds the lease.
        backoff: how long a step waits that failed.
    """

    def __init__(self, running: "Running", owner: str, backoff: Backoff) -> None:
        self._running = running
        self._owner = owner
        self.backoff = backoff
        self.closing = False
        """whether leases are handed back in place of going on with the next step"""

    async def write(
        self, work: UnitOfWork, held: Held, to: Position, state: SagaState, outcome: Outcome, began: datetime
    ) -> Held | None:
        """Write where the saga goes in the transaction of `work`, with what became of the attempt.

        Returns:
            What this process holds of it from then on: the next step, in the same write; None where it rests or ended.

        Raises:
            Overtaken: the lease was lost; nothing may be committed.
            AskedMeanwhile: it is to be undone, which the caller did not know when it chose `to`.
        """
        now = self._running.clock.now()
        goes_on = to.wait is None and not to.has_ended and not self.closing
        after = replace(to, attempts=1) if goes_on else to
        values = self._values(held, after, state, now) | {"error": outcome.reason or None}
        if goes_on:
            values |= {"owner": self._owner, "due_at": now + lease_of(held.saga, to.step), "since": now}
        await work.flush()  # what the step is about is locked before the saga, as whoever asks for something locks them
        mine = (sagas.c.saga_id == held.saga_id) & (sagas.c.fence == held.fence)
        unasked = mine if held.at.why is not None else mine & sagas.c.why.is_(None)
        written = cast("CursorResult[Any]", await work.execute(update(sagas).where(unasked).values(values)))
        if written.rowcount != 1:
            await self._explain(work, held)
        if entries := self._entries(held, to, outcome, began, now):
            await work.execute(insert(saga_steps), entries)
        if not goes_on:
            return None
        return replace(held, state=state, at=after, fence=held.fence + 1, since=now, skip=False, lost=False)

    def _values(self, held: Held, to: Position, state: SagaState, now: datetime) -> dict[str, Any]:
        waits = to.wait is not None and to.step == held.at.step
        due_at = now if to.wait is None else held.due_at(now, to.wait)
        values: dict[str, Any] = {
            "status": to.status,
            "step": to.step,
            "done": ",".join(to.done),
            "attempts": to.attempts,
            "failures": to.failures,
            "doubt": to.doubt,
            "skip": False,
            "why": None if to.why is None else to.why.dumped(),
            "owner": None,
            "fence": held.fence + 1,
            "due_at": None if to.has_ended else due_at,
            "since": held.since if waits else None,
            "ended_at": now if to.has_ended else None,
        }
        if state is not held.state:
            values["state"] = state.dumped()
        return values

    async def _explain(self, work: UnitOfWork, held: Held) -> None:
        """Why the row was not as expected. Raises Overtaken or AskedMeanwhile."""
        row = (
            await work.execute(select(sagas.c.fence, sagas.c.why).where(sagas.c.saga_id == held.saga_id))
        ).one_or_none()
        why = None if row is None or row.fence != held.fence else Undone.loaded(row.why)
        if why is None:
            raise Overtaken(held.saga_id)
        raise AskedMeanwhile(why)

    def _entries(
        self, held: Held, to: Position, outcome: Outcome, began: datetime, now: datetime
    ) -> list[dict[str, Any]]:
        """What the timeline is told: how an attempt ended, and before that of one that was cut off."""
        entry = {"saga_id": held.saga_id, "step": held.at.step, "action": held.action, "actor": None}
        entries: list[dict[str, Any]] = []
        if held.lost and held.at.attempts <= _MOST_ENTRIES:
            lost = {"attempt": held.at.attempts - 1, "outcome": "lost", "error": "Its process ended or was too slow"}
            entries.append(entry | lost | {"started_at": held.since, "ended_at": began})
        told = outcome.kind not in {"open", "skipped", "cut"} and to.failures <= _MOST_ENTRIES
        if told and (outcome.kind != "done" or held.at.step):
            ended = {"attempt": held.at.attempts, "outcome": outcome.kind, "error": outcome.reason or None}
            entries.append(entry | ended | {"started_at": began, "ended_at": now})
        return entries
