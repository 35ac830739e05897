"""Timeline and status of a subject's sagas, for users and operators."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select

from portico.kit.data.kit_tables import saga_steps, sagas
from portico.kit.data.reader import Reader
from portico.kit.sagas.outcomes import UndoReason
from portico.kit.sagas.state import SagaId

_MAX_SAGAS = 50
_MAX_ENTRIES = 1_000


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """An attempt of a step, or a request to a saga.

    Attributes:
        saga: The saga's name.
        step: The step's name; empty for an entry of the whole saga.
        action: `start`, `do`, `undo`, `end`; `cancel`, `retry`, `skip` for a request.
        attempt: The number of the attempt; 0 if none was made.
        started_at: When it started.
        ended_at: When it ended; None if it has not.
        outcome: `done`, `refused`, `failed`, `pending` (not known yet), `deadline_exceeded`, `lost` (its process
            ended), `skipped`, `requested`, `undone`; `under_way` or `waiting` (for the next attempt) if it has not
            ended.
        error: The error, or the reason of a request.
        actor: Who made the request; None for the saga itself.
    """

    saga: str
    step: str
    action: str
    attempt: int
    started_at: datetime
    ended_at: datetime | None
    outcome: str
    error: str | None = None
    actor: str | None = None


@dataclass(frozen=True, slots=True)
class SagaStatus:
    """Status of a saga.

    Attributes:
        saga_id: Its identifier.
        name: The name of its definition.
        status: `running`, `undoing`, `done` or `undone`.
        step: The current step; empty if only the finalizer is left.
        attempts: Attempts of this step that were started.
        failures: Consecutive failures of this step.
        error: The error of the last attempt.
        due_at: When the next attempt is due or the lease of the current one expires; None once the saga has ended.
        undo_reason: Why the saga is or will be undone; None if it is not.
    """

    saga_id: SagaId
    name: str
    status: str
    step: str
    attempts: int
    failures: int
    error: str | None
    due_at: datetime | None
    undo_reason: UndoReason | None


async def timeline(reader: Reader, subject: str) -> list[TimelineEntry]:
    """Return the timeline of all sagas for `subject`, oldest first: at most 1,000 entries."""
    table = sagas.c
    rows = await reader.rows(select(sagas).where(table.subject == subject).order_by(table.saga_id).limit(_MAX_SAGAS))
    names = {row.saga_id: row.name for row in rows}
    steps = await reader.rows(
        select(saga_steps).where(saga_steps.c.saga_id.in_(names)).order_by(saga_steps.c.entry_id).limit(_MAX_ENTRIES)
    )
    entries = [_step_entry(names[step.saga_id], step) for step in steps]
    for row in rows:
        entries += _saga_entries(row)
    order = {"start": 0, "end": 2}
    return sorted(entries, key=lambda each: (each.ended_at is None, each.ended_at, order.get(each.action, 1)))


async def saga_status(reader: Reader, subject: str) -> SagaStatus | None:
    """Return the status of the oldest open saga for `subject`, else of the newest ended saga; None without sagas."""
    of_subject = select(sagas).where(sagas.c.subject == subject).limit(1)
    found = await reader.rows(of_subject.where(sagas.c.ended_at.is_(None)).order_by(sagas.c.saga_id))
    if not found:
        found = await reader.rows(of_subject.order_by(sagas.c.saga_id.desc()))
    if not found:
        return None
    row = found[0]
    return SagaStatus(
        SagaId(row.saga_id),
        row.name,
        row.status,
        row.step,
        row.attempts,
        row.failures,
        row.error,
        row.due_at,
        UndoReason.from_json(row.undo_reason),
    )


def _step_entry(name: str, step: Any) -> TimelineEntry:
    return TimelineEntry(
        name,
        step.step,
        step.action,
        step.attempt,
        step.started_at,
        step.ended_at,
        step.outcome,
        step.error,
        step.actor,
    )


def _saga_entries(row: Any) -> list[TimelineEntry]:
    """Return the entries from the saga's row: its start, and its end or current attempt."""
    start = TimelineEntry(row.name, "", "start", 0, row.started_at, row.started_at, "done")
    if row.ended_at is not None:
        undo_reason = UndoReason.from_json(row.undo_reason)
        reason = None if undo_reason is None else undo_reason.reason
        return [start, TimelineEntry(row.name, "", "end", 0, row.ended_at, row.ended_at, row.status, reason)]
    action = ("undo" if row.status == "undoing" else "do") if row.step else "end"
    outcome = "waiting" if row.owner is None else "under_way"
    started_at = row.step_started_at or row.started_at
    return [start, TimelineEntry(row.name, row.step, action, row.attempts, started_at, None, outcome, row.error)]
