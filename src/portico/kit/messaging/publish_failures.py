"""What a broker refuses for good: it waits, with all else about the same thing, and is a dead letter after its last try."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, delete, exists, func, insert, select

from portico.kit.data.kit_tables import blocked_aggregates, failed_events, outbox
from portico.kit.data.unit_of_work import UnitOfWork
from portico.kit.data.upsert import insert_or_ignore
from portico.kit.foundation.backoff import Backoff
from portico.kit.messaging.context import MessagingContext
from portico.kit.messaging.envelope import Envelope
from portico.kit.telemetry.logs import get_logger

logger = get_logger(__name__)

_CAUSE = "Refused"
_HOLD_BACKOFF = Backoff(base=2.0, limit=300.0, jitter=0.0)
_LONGEST_REASON = 1_000  # characters

IS_HELD = exists().where(
    blocked_aggregates.c.aggregate == outbox.c.aggregate,
    blocked_aggregates.c.until > bindparam("now", type_=blocked_aggregates.c.until.type),
)
"""Whether an event of the outbox waits behind one that the broker refused."""


class PublishFailures:
    """What the broker refused of one service's events, and about which things events wait for that.

    Somebody may raise the limit while it waits, and all is in order then. After EVENT_ATTEMPTS it is given up, as what
    a consumer can't handle: no promise is kept by events that wait for ever behind it.
    """

    def __init__(self, context: MessagingContext) -> None:
        self._context = context
        self._until: datetime | None = None

    def hold(self, now: datetime) -> bool:
        """Whether anything is held; until then nobody need look whether an event is."""
        return self._until is not None and self._until > now

    async def remember(self, work: UnitOfWork) -> None:
        """See what another process has held."""
        await work.execute(delete(blocked_aggregates).where(blocked_aggregates.c.until < work.now - timedelta(days=1)))
        self._until = await work.one(select(func.max(blocked_aggregates.c.until)))

    async def settle(self, rows: Sequence[Any], refused: Mapping[str, str]) -> list[Any]:
        """Have what was refused wait, longer each time, or die; those of `rows` that were published for good.

        What is behind one that was refused is not among them: its turn comes when that has been taken, or has died.
        """
        published: list[Any] = []
        behind: set[str] = set()
        async with self._context.transaction() as work:
            for row in rows:
                if row.aggregate in behind:
                    continue
                if row.event_id in refused:
                    await self._hold(work, row, refused[row.event_id][:_LONGEST_REASON])
                    behind.add(row.aggregate)
                else:
                    published.append(row)
        return published

    async def _hold(self, work: UnitOfWork, row: Any, reason: str) -> None:
        """Have it tried again later, or make it a dead letter after its last try."""
        same = blocked_aggregates.c.aggregate == row.aggregate
        this = blocked_aggregates.c.event_id == row.event_id  # an earlier one's tries are not its own
        attempts = 1 + (await work.one(select(blocked_aggregates.c.attempts).where(same, this)) or 0)
        await work.execute(delete(blocked_aggregates).where(same))
        about = {"service": self._context.name, "event_id": row.event_id, "type": row.type, "attempts": attempts}
        if attempts >= self._context.settings.event_attempts:
            await _bury(work, row, reason, attempts)
            logger.error("event_dead", **about, kind="not_publishable", cause=_CAUSE, reason=reason)
            return
        until = work.now + timedelta(seconds=_HOLD_BACKOFF.delay(attempts))
        held = {"aggregate": row.aggregate, "event_id": row.event_id, "until": until, "attempts": attempts}
        await work.execute(insert(blocked_aggregates).values(held | {"error": reason}))
        self._until = until if self._until is None else max(until, self._until)
        logger.error("event_refused", **about, reason=reason)


async def _bury(work: UnitOfWork, row: Any, reason: str, attempts: int) -> None:
    letter = {
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
    await work.execute(insert_or_ignore(failed_events, work.database.dialect).values(letter))
    await work.execute(delete(outbox).where(outbox.c.id == row.id))


async def publish_again(work: UnitOfWork, letters: Sequence[Any]) -> None:
    """Put dead letters of the broker's back into the outbox, in their order, to be tried from the first try on."""
    rows = [
        {
            "event_id": letter.event_id,
            "type": letter.type,
            "aggregate": letter.aggregate,
            "body": letter.body,
            "occurred_at": datetime.fromisoformat(Envelope.loaded(letter.body).time),
        }
        for letter in letters
    ]
    if rows:
        await work.execute(insert(outbox), rows)
        await work.execute(delete(failed_events).where(failed_events.c.id.in_([letter.id for letter in letters])))
