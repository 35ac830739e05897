"""Retry queue: failed events wait in the consumer's own database. After the last attempt they are dead letters."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal, Self, cast

from sqlalchemy import ColumnElement, and_, case, delete, exists, func, literal, or_, select, update

from portico.kit.calls.errors import CallError
from portico.kit.data.kit_tables import NAME_LENGTH, failed_events, inbox
from portico.kit.data.statements import Statement, is_due
from portico.kit.data.unit_of_work import UnitOfWork
from portico.kit.data.upsert import insert_or_ignore
from portico.kit.foundation.backoff import Backoff
from portico.kit.foundation.clock import latest_due, seconds_until
from portico.kit.foundation.problems import Problem
from portico.kit.messaging.brokers.base import Message
from portico.kit.messaging.consumer import Consumer
from portico.kit.messaging.context import MessagingContext
from portico.kit.messaging.envelope import Envelope, NotAnEvent
from portico.kit.telemetry.logs import get_logger

logger = get_logger(__name__)

State = Literal["waiting", "dead"]

Kind = Literal["handler_failed", "unreadable", "not_publishable"]
"""Why an event failed: its consumer raised, the message is not a known event, or the broker rejected it."""

CHANGE_SUBJECT = "retry-queue"
"""The subject of change notifications when an event is queued, retried or replayed in this process."""

_BATCH = 100
_MAX_DELAY = timedelta(seconds=300)
# Delay of an event that waits for an earlier one. Normally the earlier event wakes it sooner.
_BLOCKED_BACKOFF = Backoff(base=15.0, limit=15.0, jitter=0.2)
_MAX_ERROR_LENGTH = 4_000  # characters
_MAX_BODY_LENGTH = 1 << 20
_MAX_KEY_LENGTH = 255


class BlockedByEarlierEvent(Exception):
    """An earlier event of the same aggregate is waiting for a retry, so this one has to wait too."""


_EXPECTED = (Problem, CallError, NotAnEvent, BlockedByEarlierEvent)
"""Errors that are logged without a traceback, because their message is sufficient."""


@dataclass(frozen=True, slots=True)
class FailedEvent:
    """An event that failed.

    Args:
        number: its position in the queue; 0 until it is stored.
        kind: why it failed.
        consumer: the stored name of the consumer that failed; empty unless `kind` is `handler_failed`.
        event_id: the event.
        type: its type.
        aggregate: the aggregate that it concerns.
        body: the message as received.
        state: waiting for a retry, or dead.
        attempts: how many attempts were made.
        cause: a problem's code, or the name of an exception.
        error: the error message.
    """

    number: int
    kind: Kind
    consumer: str
    event_id: str
    type: str
    aggregate: str
    body: str
    state: State
    attempts: int
    cause: str
    error: str

    @classmethod
    def of(cls, consumer: str, envelope: Envelope, body: bytes, error: BaseException, *, attempts: int) -> Self:
        """Return an event whose consumer failed, or that must wait for an earlier event."""
        return cls(
            number=0,
            kind="handler_failed",
            consumer=consumer,
            event_id=envelope.event_id,
            type=envelope.type,
            aggregate=envelope.subject,
            body=body.decode(),
            state="waiting",
            attempts=attempts,
            cause=_cause(error),
            error=_text(error),
        )

    @classmethod
    def unreadable(cls, message: Message, error: NotAnEvent) -> Self:
        """Return a message that is not a known event. It is dead at once, because a retry cannot succeed."""
        return cls(
            number=0,
            kind="unreadable",
            consumer="",
            event_id=_identity(message),
            type=_storable(message.type, NAME_LENGTH),
            aggregate=_storable(message.key, _MAX_KEY_LENGTH),
            body=_storable(message.body[:_MAX_BODY_LENGTH].decode(errors="replace"), _MAX_BODY_LENGTH),
            state="dead",
            attempts=1,
            cause=_cause(error),
            error=_text(error),
        )


class RetryQueue:
    """The failed events of one service.

    Failed events of consumers unknown to this process are not retried here: during a rollout another version may own
    them. They are counted and logged.
    """

    def __init__(self, context: MessagingContext) -> None:
        self._context = context
        self._is_ours = _is_routable(context.consumers)
        self._due = _due(self._is_ours)
        self._next_due_at = Statement(select(func.min(failed_events.c.next_at)).where(_IS_WAITING, self._is_ours))
        self._counts = _counts(self._is_ours)
        self._unroutable: Mapping[str, int] = {}
        self.waiting = 0
        self.dead = 0

    @property
    def unroutable(self) -> int:
        """Number of events that wait for a consumer that this process does not have, at the last count."""
        return sum(self._unroutable.values())

    async def add(self, failed: FailedEvent, error: Exception) -> None:
        """Queue an event that failed with `error` for a retry, unless it is already handled or queued."""
        failed = self._with_state(failed)
        async with self._context.transaction() as work:
            same = (inbox.c.consumer == failed.consumer, inbox.c.event_id == failed.event_id)
            if await work.one(select(literal(1)).where(exists().where(*same))) is None:
                row = self._row(failed, work, is_blocked=failed.attempts == 0)
                await work.execute(insert_or_ignore(failed_events, work.database.dialect).values(row))
                work.changes(CHANGE_SUBJECT)
        self._log(failed, error, is_new=True)

    async def due(self) -> Sequence[FailedEvent]:
        """Return the events that are due for a retry by a consumer of this process, in the order of their failure."""
        async with self._context.reader() as reader:
            now = reader.now
            rows = await reader.rows(self._due, {"now": now, "latest": latest_due(now, _MAX_DELAY)})
        return [FailedEvent(*row) for row in rows]

    async def seconds_until_due(self) -> float | None:
        """Return the seconds until the next retry by a consumer of this process is due; None if no event waits."""
        async with self._context.reader() as reader:
            due_at = cast("datetime | None", (await reader.rows(self._next_due_at, {}))[0][0])
            return None if due_at is None else seconds_until(due_at, reader.now, max_wait=_MAX_DELAY)

    async def remove(self, work: UnitOfWork, failed: FailedEvent) -> None:
        """Remove an event that was handled in this unit of work, and wake the next event of its aggregate."""
        await work.execute(delete(failed_events).where(failed_events.c.id == failed.number))
        await self._wake_next(work, failed)

    async def remove_now(self, failed: FailedEvent) -> None:
        """Remove an event in a separate transaction."""
        async with self._context.transaction() as work:
            await self.remove(work, failed)

    async def record_failure(self, failed: FailedEvent, error: Exception) -> None:
        """Schedule the next retry after a failed one, or make the event a dead letter. A blocked event only waits."""
        is_blocked = isinstance(error, BlockedByEarlierEvent)
        updated = self._with_state(
            replace(failed, attempts=failed.attempts + (not is_blocked), cause=_cause(error), error=_text(error))
        )
        if isinstance(error, NotAnEvent):
            updated = replace(updated, state="dead")
        async with self._context.transaction() as work:
            row = self._row(updated, work, is_blocked=is_blocked)
            values = {name: row[name] for name in ("state", "attempts", "next_at", "cause", "error")}
            await work.execute(update(failed_events).where(failed_events.c.id == failed.number).values(values))
            work.changes(CHANGE_SUBJECT)
            if updated.state == "dead":
                await self._wake_next(work, failed)
        self._log(updated, error, is_new=updated.cause != failed.cause)

    async def count(self) -> None:
        """Count waiting, unroutable and dead events for the metrics."""
        async with self._context.reader() as reader:
            rows = await reader.rows(self._counts, {})
        self.waiting = sum(row.number for row in rows if row.state == "waiting")
        self.dead = sum(row.number for row in rows if row.state == "dead")
        self._log_unroutable({row.consumer: row.number for row in rows if row.state == "waiting" and not row.is_ours})

    async def _wake_next(self, work: UnitOfWork, failed: FailedEvent) -> None:
        following = await work.one(
            select(func.min(failed_events.c.id)).where(
                failed_events.c.kind == failed.kind,
                failed_events.c.consumer == failed.consumer,
                failed_events.c.aggregate == failed.aggregate,
                failed_events.c.state == "waiting",
                failed_events.c.id > failed.number,
            )
        )
        if following is not None:
            await work.execute(update(failed_events).where(failed_events.c.id == following).values(next_at=work.now))
            work.changes(CHANGE_SUBJECT)

    def _with_state(self, failed: FailedEvent) -> FailedEvent:
        is_last = failed.attempts >= self._context.settings.event_attempts
        return replace(failed, state="dead") if is_last else failed

    def _row(self, failed: FailedEvent, work: UnitOfWork, *, is_blocked: bool) -> dict[str, Any]:
        settings = self._context.settings
        backoff = Backoff(base=settings.event_retry_delay, limit=_MAX_DELAY.total_seconds(), jitter=0.2)
        if is_blocked:
            backoff = _BLOCKED_BACKOFF
        row = {name: getattr(failed, name) for name in _COLUMNS if name != "id"}
        delay = timedelta(seconds=backoff.delay(failed.attempts))
        return row | {"next_at": work.now + delay, "failed_at": work.now}

    def _log(self, failed: FailedEvent, error: Exception, *, is_new: bool) -> None:
        """Log a failed attempt. An unexpected error that is new for its event is logged at ERROR with its traceback."""
        fields: dict[str, Any] = {"service": self._context.name, "kind": failed.kind, "consumer": failed.consumer}
        fields |= {"event_id": failed.event_id, "type": failed.type, "cause": failed.cause, "error": failed.error}
        has_traceback = is_new and not isinstance(error, _EXPECTED)
        if has_traceback:
            fields["exc_info"] = error
        if failed.state == "dead":
            logger.error("event_dead", **fields, attempts=failed.attempts)
        elif has_traceback:
            logger.error("event_retry_scheduled", **fields, attempts=failed.attempts)
        else:
            logger.warning("event_retry_scheduled", **fields, attempts=failed.attempts)

    def _log_unroutable(self, found: Mapping[str, int]) -> None:
        for consumer in found.keys() - self._unroutable.keys():
            logger.warning("unroutable_events", service=self._context.name, consumer=consumer, number=found[consumer])
        self._unroutable = found


_IS_WAITING = failed_events.c.state == "waiting"
_COLUMNS = ("id", "kind", "consumer", "event_id", "type", "aggregate", "body", "state", "attempts", "cause", "error")


def _is_routable(consumers: Sequence[Consumer]) -> ColumnElement[bool]:
    """Return the condition for events that these consumers can retry, and for unreadable messages."""
    mine = [
        and_(
            failed_events.c.consumer == each.name,
            or_(*(failed_events.c.type == kind.event_type for kind in each.events)),
        )
        for each in consumers
    ]
    return or_(failed_events.c.kind == "unreadable", *mine)


def _due(is_ours: ColumnElement[bool]) -> Statement:
    return Statement(
        select(*(failed_events.c[name] for name in _COLUMNS))
        .where(_IS_WAITING, is_due(failed_events.c.next_at), is_ours)
        .order_by(failed_events.c.id)
        .limit(_BATCH)
    )


def _counts(is_ours: ColumnElement[bool]) -> Statement:
    ours = case((is_ours, 1), else_=0).label("is_ours")
    events = select(failed_events.c.state, failed_events.c.consumer, ours).subquery()
    by = (events.c.state, events.c.consumer, events.c.is_ours)
    return Statement(select(*by, func.count().label("number")).group_by(*by))


def _cause(error: BaseException) -> str:
    return error.code if isinstance(error, Problem) else type(error).__name__[:NAME_LENGTH]


def _text(error: BaseException) -> str:
    """Return the error message, without the SQL of database errors, which repeats the data."""
    fields = error.sentence() if isinstance(error, Problem) else str(error).partition("\n[SQL")[0]
    return _storable(fields, _MAX_ERROR_LENGTH)


def _identity(message: Message) -> str:
    """Return an id that is the same for every delivery: the message's id, or a digest if that is not usable."""
    if 0 < len(message.id) <= _MAX_KEY_LENGTH:
        return _storable(message.id, _MAX_KEY_LENGTH)
    digest = hashlib.sha256(f"{message.id}\0{message.key}\0".encode(errors="replace"))
    digest.update(message.body)
    return f"sha256:{digest.hexdigest()}"


def _storable(text: str, max_length: int) -> str:
    """Return `text` cut to `max_length` characters, without NUL and lone surrogates, which some databases reject."""
    return text[:max_length].encode(errors="replace").decode().replace("\0", "�")
