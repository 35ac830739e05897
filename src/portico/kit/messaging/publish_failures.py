"""Events that the broker permanently rejects: retried with backoff, then dead letters."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, exists, func, insert, select

from portico.kit.data.kit_tables import blocked_aggregates, failed_events, outbox
from portico.kit.data.statements import is_due
from portico.kit.data.unit_of_work import UnitOfWork
from portico.kit.data.upsert import insert_or_ignore
from portico.kit.foundation.backoff import Backoff
from portico.kit.messaging.context import MessagingContext
from portico.kit.messaging.envelope import Envelope
from portico.kit.telemetry.logs import get_logger

logger = get_logger(__name__)

_CAUSE = "Rejected"
MAX_HOLD = timedelta(seconds=300)
"""Maximum delay between two attempts to publish a rejected event."""
_HOLD_BACKOFF = Backoff(base=2.0, limit=MAX_HOLD.total_seconds(), jitter=0.0)
_MAX_REASON_LENGTH = 1_000  # characters

IS_BLOCKED = exists().where(
    blocked_aggregates.c.aggregate == outbox.c.aggregate,
    ~is_due(blocked_aggregates.c.until),
)
"""Condition that an event of the outbox waits behind one that the broker rejected."""


class PublishFailures:
    """Rejected events of one service, and the aggregates that wait for them.

    They are retried, because an operator may raise the broker's limit. After EVENT_ATTEMPTS an event becomes a dead
    letter, so that later events of its aggregate are published.
    """

    def __init__(self, context: MessagingContext) -> None:
        self._context = context
        self._until: datetime | None = None

    def has_blocked(self, now: datetime) -> bool:
        """Return whether any aggregate may be blocked. If not, the outbox is read without checking."""
        return self._until is not None and self._until > now

    async def load_blocked(self, work: UnitOfWork) -> None:
        """Load the blocked aggregates that another process has recorded."""
        await work.execute(delete(blocked_aggregates).where(blocked_aggregates.c.until < work.now - timedelta(days=1)))
        self._until = await work.one(select(func.max(blocked_aggregates.c.until)))

    async def record(self, rows: Sequence[Any], refused: Mapping[str, str]) -> list[Any]:
        """Schedule rejected events for a retry, or make them dead letters. Return the rows that are published.

        Rows after a rejected row of the same aggregate are not included. They are published after that row is published
        or has become a dead letter.
        """
        published: list[Any] = []
        behind: set[str] = set()
        async with self._context.transaction() as work:
            for row in rows:
                if row.aggregate in behind:
                    continue
                if row.event_id in refused:
                    await self._hold(work, row, refused[row.event_id][:_MAX_REASON_LENGTH])
                    behind.add(row.aggregate)
                else:
                    published.append(row)
        return published

    async def _hold(self, work: UnitOfWork, row: Any, reason: str) -> None:
        """Schedule the next attempt. After the last attempt, make the event a dead letter."""
        same = blocked_aggregates.c.aggregate == row.aggregate
        this = blocked_aggregates.c.event_id == row.event_id  # attempts of another event do not count
        attempts = 1 + (await work.one(select(blocked_aggregates.c.attempts).where(same, this)) or 0)
        await work.execute(delete(blocked_aggregates).where(same))
        about = {"service": self._context.name, "event_id": row.event_id, "type": row.type, "attempts": attempts}
        if attempts >= self._context.settings.event_attempts:
            await _add_dead_letter(work, row, reason, attempts)
            logger.error("event_dead", **about, kind="not_publishable", cause=_CAUSE, reason=reason)
            return
        until = work.now + timedelta(seconds=_HOLD_BACKOFF.delay(attempts))
        held = {"aggregate": row.aggregate, "event_id": row.event_id, "until": until, "attempts": attempts}
        await work.execute(insert(blocked_aggregates).values(held | {"error": reason}))
        self._until = until if self._until is None else max(until, self._until)
        if attempts == 1:
            logger.error("event_rejected", **about, reason=reason)
        else:
            logger.warning("event_rejected", **about, reason=reason)


async def _add_dead_letter(work: UnitOfWork, row: Any, reason: str, attempts: int) -> None:
    dead_letter = {
        "kind": "not_publishable",
        "consumer": "",
        "event_id": row.event_id,
        "type": row.type,
        "aggregate": row.aggregate,
        "body": row.body,
        "state": "dead",
        "attempts": attempts,
        "next_at": work.now,
        "cause": _CAUSE,
        "error": reason,
        "failed_at": work.now,
    }
    await work.execute(insert_or_ignore(failed_events, work.database.dialect).values(dead_letter))
    await work.execute(delete(outbox).where(outbox.c.id == row.id))


async def publish_again(work: UnitOfWork, dead_letters: Sequence[Any]) -> None:
    """Move dead letters that the broker rejected back to the outbox, in order, to retry them from the first attempt."""
    rows = [
        {
            "event_id": each.event_id,
            "type": each.type,
            "aggregate": each.aggregate,
            "body": each.body,
            "occurred_at": datetime.fromisoformat(Envelope.parse(each.body).time),
        }
        for each in dead_letters
    ]
    if rows:
        await work.execute(insert(outbox), rows)
        await work.execute(delete(failed_events).where(failed_events.c.id.in_([each.id for each in dead_letters])))
