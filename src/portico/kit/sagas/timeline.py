"""What became of a saga, step by step, for whoever asks why."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select

from portico.kit.data.kit_tables import saga_steps, sagas
from portico.kit.data.reader import Reader
from portico.kit.sagas.outcomes import UndoReason
from portico.kit.sagas.state import SagaId

_MOST_SAGAS = 50
_MOST_ENTRIES = 1_000


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One thing that a saga did, or that was done about it.

    Attributes:
        saga: The saga's name.
        step: The step's name; empty for what concerns the whole.
        action: `start`, `do`, `undo`, `end`; `cancel`, `retry`, `skip` where somebody asked for it.
        attempt: Which attempt of the step; 0 where none was made.
        started_at: When it began.
        ended_at: When it ended; None where it has not.
        outcome: `done`, `refused`, `failed`, `open` (nobody knows it yet), `lost` (its process ended), `skipped`,
            `asked`, `undone`; `under_way` or `waiting` (for the next attempt) where it has not ended.
        error: What went wrong, or why it was asked for.
        actor: Who asked for it; None for the saga itself.
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
    """Where a saga stands.

    Attributes:
        saga_id: Its identifier.
        name: Which saga it is.
        status: `running`, `undoing`, `done` or `undone`.
        step: The step that is under way or next; empty where only the end is left.
        attempts: How often that was begun.
        failures: How often in a row it failed.
        error: Why, the last time.
        due_at: When it is tried again, or taken from a process that has not been heard of; None once it ended.
        why: Why it is undone, or is going to be; None where it is not.
    """

    saga_id: SagaId
    name: str
    status: str
    step: str
    attempts: int
    failures: int
    error: str | None
    due_at: datetime | None
    why: UndoReason | None


async def timeline(reader: Reader, subject: str) -> list[TimelineEntry]:
    """All that happened in the sagas for `subject`, oldest first: at most 1,000 entries."""
    table = sagas.c
    rows = await reader.rows(select(sagas).where(table.subject == subject).order_by(table.saga_id).limit(_MOST_SAGAS))
    names = {row.saga_id: row.name for row in rows}
    steps = await reader.rows(
        select(saga_steps).where(saga_steps.c.saga_id.in_(names)).order_by(saga_steps.c.entry_id).limit(_MOST_ENTRIES)
    )
    entries = [_entry(names[step.saga_id], step) for step in steps]
    for row in rows:
        entries += _around(row)
    order = {"start": 0, "end": 2}
    return sorted(entries, key=lambda each: (each.ended_at is None, each.ended_at, order.get(each.action, 1)))


async def saga_status(reader: Reader, subject: str) -> SagaStatus | None:
    """Where the saga for `subject` stands on which the others wait: the oldest open one, else the newest that ended.

    None where there is none.
    """
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
        UndoReason.loaded(row.why),
    )


def _entry(name: str, step: Any) -> TimelineEntry:
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


def _around(row: Any) -> list[TimelineEntry]:
    """What the saga's own row says: that it started, and how it stands or ended."""
    start = TimelineEntry(row.name, "", "start", 0, row.started_at, row.started_at, "done")
    if row.ended_at is not None:
        why = UndoReason.loaded(row.why)
        reason = None if why is None else why.reason
        return [start, TimelineEntry(row.name, "", "end", 0, row.ended_at, row.ended_at, row.status, reason)]
    action = ("undo" if row.status == "undoing" else "do") if row.step else "end"
    outcome = "waiting" if row.owner is None else "under_way"
    since = row.since or row.started_at
    return [start, TimelineEntry(row.name, row.step, action, row.attempts, since, None, outcome, row.error)]
