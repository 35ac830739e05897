"""Sagas that this process holds a lease of: claimed in batches, given back when it stops."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import CursorResult, Integer, bindparam, func, select, update

from portico.kit.data.kit_tables import sagas
from portico.kit.data.statements import Statement
from portico.kit.sagas.definition import NoSuchStep, Saga
from portico.kit.sagas.outcomes import UndoReason
from portico.kit.sagas.state import SagaId, SagaState
from portico.kit.sagas.transitions import Late, Position, needs_undo_before_skip
from portico.kit.telemetry.trace_context import TraceContext

if TYPE_CHECKING:
    from portico.kit.runtime.context import ServiceRuntime

MARGIN = timedelta(seconds=5)
"""By how much a lease is longer than the step: shorter, and a slow step would be taken over for ever."""

_SOONEST = Statement(select(func.min(sagas.c.due_at)).where(sagas.c.due_at.is_not(None)))
_DUE = (
    select(sagas)
    .where(sagas.c.due_at <= bindparam("now"), sagas.c.name.in_(bindparam("names", expanding=True)))
    .order_by(sagas.c.due_at)
    .limit(bindparam("most", type_=Integer))
    .with_for_update(skip_locked=True)
)
_TAKE = (
    update(sagas)
    .where(sagas.c.saga_id.in_(bindparam("ids", expanding=True)))
    .values(
        owner=bindparam("new_owner"),
        due_at=bindparam("until"),
        fence=sagas.c.fence + 1,
        attempts=sagas.c.attempts + 1,
        since=func.coalesce(sagas.c.since, bindparam("now", type_=sagas.c.since.type)),
    )
)
_TAKE_OVER = _TAKE.values(doubt=True)

_NOT_KNOWN_HERE = timedelta(seconds=5)  # the lease of a step of another version, which is only looked at


@dataclass(frozen=True, slots=True)
class ClaimedSaga:
    """A saga, as it was when this process got its lease or last wrote its progress.

    Attributes:
        saga: Its definition.
        saga_id: Its identifier.
        subject: What it serves.
        state: What its steps are given.
        at: Where it is; the attempt that is being made is counted.
        fence: The number that its row must still have.
        since: When the first attempt of this step began.
        deadline_at: When it must have come to the point of no return.
        lost: The process that held it before ended without a word.
        trace: Of whoever started it.
        request_id: Likewise.
    """

    saga: Saga[Any]
    saga_id: SagaId
    subject: str
    state: SagaState
    at: Position
    fence: int
    since: datetime
    deadline_at: datetime
    lost: bool
    trace: TraceContext | None
    request_id: str | None

    @property
    def action(self) -> str:
        """What is tried: `do`, `undo` or `end`."""
        if self.at.status == "running":
            return "undo" if needs_undo_before_skip(self.saga, self.at) else "do"
        return "undo" if self.at.step else "end"

    def late(self, now: datetime) -> Late | None:
        """Which deadline has passed, where there is one."""
        if self.at.status != "running" or self.saga.step(self.at.step).only_forward:
            return None
        if now >= self.deadline_at:
            return "saga"
        step_deadline = self._step_deadline
        return "step" if step_deadline is not None and now >= step_deadline else None

    def due_at(self, now: datetime, wait: float) -> datetime:
        """When to try this step again: after `wait` seconds, and not after a deadline."""
        due = now + timedelta(seconds=wait)
        if self.at.status != "running" or self.saga.step(self.at.step).only_forward:
            return due
        return min(due, max(now, min(self.deadline_at, self._step_deadline or self.deadline_at)))

    @property
    def _step_deadline(self) -> datetime | None:
        """When the step must be done; None for one that has no deadline, or is passed over."""
        deadline = self.saga.step(self.at.step).deadline
        return None if deadline is None or self.at.skip else self.since + deadline


class SagaLeases:
    """The leases of one runner on the sagas of one service.

    Args:
        context: the service.
        known: its sagas, by name.
        owner: who holds them.
    """

    def __init__(self, context: "ServiceRuntime", known: Mapping[str, Saga[Any]], owner: str) -> None:
        self._context = context
        self._known = known
        self.owner = owner

    async def soonest(self) -> datetime | None:
        """When the next saga is due, or its lease ends; None where all have ended."""
        async with self._context.reader() as reader:
            found = (await reader.rows(_SOONEST, {}))[0][0]
        return cast("datetime | None", found)

    async def claim(self, limit: int) -> Sequence[Any]:
        """Take up to `limit` sagas that are due; their rows as they were before, locked rows passed over."""
        now = self._context.clock.now()
        async with self._context.transaction() as work:
            rows = await work.rows(_DUE, {"now": now, "names": list(self._known), "most": limit})
            batches: dict[tuple[timedelta, bool], list[str]] = defaultdict(list)
            for row in rows:
                batches[self._lease(row), row.owner is not None].append(row.saga_id)
            for (lease, lost), ids in batches.items():
                taken = {"ids": ids, "new_owner": self.owner, "until": now + lease, "now": now}
                await work.execute(_TAKE_OVER if lost else _TAKE, taken)
        return rows

    def _lease(self, row: Any) -> timedelta:
        saga = self._known[row.name]
        try:
            return lease_of(saga, row.step)
        except NoSuchStep:
            return _NOT_KNOWN_HERE

    def held(self, row: Any) -> ClaimedSaga:
        """A row that was claimed. Raises NoSuchStep or pydantic's ValidationError where this version can't read it."""
        saga = self._known[row.name]
        if row.step:
            saga.step(row.step)
        return ClaimedSaga(
            saga=saga,
            saga_id=SagaId(row.saga_id),
            subject=row.subject,
            state=saga.state.model_validate_json(row.state),
            at=Position(
                row.status,
                row.step,
                tuple(row.done.split(",")) if row.done else (),
                attempts=row.attempts + 1,
                failures=row.failures,
                doubt=row.doubt or row.owner is not None,
                why=UndoReason.loaded(row.why),
                skip=row.skip,
            ),
            fence=row.fence + 1,
            since=row.since or self._context.clock.now(),
            deadline_at=row.deadline_at,
            lost=row.owner is not None,
            trace=TraceContext.parse(row.trace),
            request_id=row.request_id,
        )

    async def let_go(self, held: ClaimedSaga) -> None:
        """Give back a saga whose last commit went through though its answer was lost: it goes on from there."""
        mine = (sagas.c.saga_id == held.saga_id) & (sagas.c.owner == self.owner) & (sagas.c.fence == held.fence + 1)
        values = {"owner": None, "due_at": self._context.clock.now(), "fence": held.fence + 2}
        async with self._context.transaction() as work:
            await work.execute(update(sagas).where(mine).values(values))

    async def put_aside(self, row: Any, error: str, wait: float) -> None:
        """Leave a claimed saga that this version can't read to another one, and say so in its row."""
        due_at = self._context.clock.now() + timedelta(seconds=wait)
        values = {"owner": None, "due_at": due_at, "failures": row.failures + 1, "error": error, "fence": row.fence + 2}
        mine = (sagas.c.saga_id == row.saga_id) & (sagas.c.fence == row.fence + 1)
        async with self._context.transaction() as work:
            await work.execute(update(sagas).where(mine).values(values))

    async def hand_back(self) -> int:
        """Give back all that is still held, so that others take it at once; how many those were.

        Their steps were cut off, and may have had their effect.
        """
        mine = (sagas.c.due_at.is_not(None)) & (sagas.c.owner == self.owner)
        values = {"owner": None, "doubt": True, "due_at": self._context.clock.now(), "fence": sagas.c.fence + 1}
        async with self._context.transaction() as work:
            result = cast("CursorResult[Any]", await work.execute(update(sagas).where(mine).values(values)))
            return result.rowcount


def lease_of(saga: Saga[Any], step: str) -> timedelta:
    """How long a step may be held. Raises NoSuchStep."""
    return (saga.step(step).within if step else timedelta(0)) + MARGIN
