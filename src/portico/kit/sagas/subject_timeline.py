"""Timeline of a subject, such as an order: saga steps, events and operator requests in one list."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import select

from portico.kit.data.kit_tables import event_log, outbox
from portico.kit.data.reader import Reader
from portico.kit.sagas.timeline import TimelineEntry, timeline

_MAX_EVENTS = 200


@dataclass(frozen=True, slots=True)
class TimelineEvent:
    """An entry of a timeline: an attempt of a saga step, an event, or an operator's request."""

    kind: Literal["step", "event", "request"]
    what: str
    saga: str | None
    action: str
    compensation: bool
    attempt: int
    started_at: datetime
    ended_at: datetime | None
    seconds: float | None
    outcome: str
    error: str | None = None
    actor: str | None = None

    @property
    def key(self) -> str:
        """Key of the entry in the timeline. It stays the same when the entry ends."""
        parts = (self.started_at.isoformat(), self.kind, self.saga or "", self.what, self.action, str(self.attempt))
        return "|".join(parts)


async def subject_timeline(reader: Reader, subject: str) -> list[TimelineEvent]:
    """Return the saga steps of a subject and its events in chronological order."""
    steps = [_of_saga(entry) for entry in await timeline(reader, subject)]
    events = [_of_event(row) for row in await _events(reader, subject)]
    return sorted([*steps, *events], key=lambda each: (each.started_at, each.ended_at is None, each.kind != "event"))


async def _events(reader: Reader, subject: str) -> Sequence[Any]:
    """Return the subject's events from the outbox and the event log."""
    found: dict[str, Any] = {}
    for table in (
        outbox,
        event_log,
    ):  # in this order, so that an event that the relay moves is read twice instead of never
        rows = await reader.rows(
            select(table.c.event_id, table.c.type, table.c.occurred_at)
            .where(table.c.aggregate == subject)
            .order_by(table.c.id)
            .limit(_MAX_EVENTS)
        )
        published = table is event_log
        found.update((row.event_id, (row.type, row.occurred_at, published)) for row in rows)
    return list(found.values())


def _of_event(row: tuple[str, datetime, bool]) -> TimelineEvent:
    kind, occurred_at, published = row
    outcome = "published" if published else "waiting"
    return TimelineEvent("event", kind, None, "publish", False, 0, occurred_at, occurred_at, 0.0, outcome)


def _of_saga(entry: TimelineEntry) -> TimelineEvent:
    ended = entry.ended_at
    return TimelineEvent(
        kind="request" if entry.outcome == "requested" else "step",
        what=entry.step or entry.saga,
        saga=entry.saga,
        action=entry.action,
        compensation=entry.action == "undo",
        attempt=entry.attempt,
        started_at=entry.started_at,
        ended_at=ended,
        seconds=None if ended is None else (ended - entry.started_at).total_seconds(),
        outcome=entry.outcome,
        error=entry.error,
        actor=entry.actor,
    )
