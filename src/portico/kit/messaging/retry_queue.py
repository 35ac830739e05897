"""Parked events: what a consumer could not handle waits in its own database, and dies after its last try."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, Self

from sqlalchemy import ColumnElement, and_, bindparam, delete, exists, func, literal, or_, select, update

from portico.kit.data.kit_tables import NAME_LENGTH, inbox, parked_events
from portico.kit.data.statements import Statement
from portico.kit.data.unit_of_work import UnitOfWork
from portico.kit.data.upsert import insert_or_ignore
from portico.kit.foundation.backoff import Backoff
from portico.kit.foundation.problems import Problem
from portico.kit.messaging.brokers.base import Message
from portico.kit.messaging.consumer import Consumer
from portico.kit.messaging.envelope import Envelope, NotAnEvent
from portico.kit.telemetry.logs import get_logger

if TYPE_CHECKING:
    from portico.kit.runtime.context import ServiceRuntime

logger = get_logger(__name__)

State = Literal["waiting", "dead"]

UNREADABLE = "-"
"""Stands for the consumer of what nobody could read."""

_BATCH = 100
_LONGEST_DELAY = 300.0  # seconds
_BLOCKED_BACKOFF = Backoff(base=15.0, limit=15.0, jitter=0.2)  # of an event behind another one, should nothing wake it
_LONGEST_ERROR = 4_000  # characters
_LONGEST_BODY = 1 << 20
_LONGEST_KEY = 255


@dataclass(frozen=True, slots=True)
class FailedEvent:
    """An event that a consumer could not handle.

    Args:
        number: its place in the order in which events were parked; 0 until it is.
        consumer: who could not handle it.
        event_id: the event.
        type: its type.
        aggregate: what it is about.
        body: the message, as it came.
        state: waiting for another try, or dead.
        attempts: how often it was tried.
        cause: the kind of what went wrong.
        error: what went wrong.
    """

    number: int
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
        """An event that failed, or has to wait behind one."""
        return cls(
            number=0,
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
        """A message that is no event which the service knows: dead at once, as no time mends it."""
        return cls(
            number=0,
            consumer=UNREADABLE,
            event_id=_identity(message),
            type=_storable(message.type, NAME_LENGTH),
            aggregate=_storable(message.key, _LONGEST_KEY),
            body=_storable(message.body[:_LONGEST_BODY].decode(errors="replace"), _LONGEST_BODY),
            state="dead",
            attempts=1,
            cause=_cause(error),
            error=_text(error),
        )


class RetryQueue:
    """The parked events of one service.

    What is parked for a consumer that this process does not have is left alone: another version of the service may
    have it, as while one is rolled out. It is counted, and told of in the log.
    """

    def __init__(self, context: "ServiceRuntime") -> None:
        self._context = context
        self._is_ours = _is_of(context.service.consumers)
        self._due = _due(self._is_ours)
        self._unroutable: Mapping[str, int] = {}
        self.waiting = 0
        self.dead = 0

    @property
    def unroutable(self) -> int:
        """How many wait for a consumer that is not here, as last counted."""
        return sum(self._unroutable.values())

    async def park(self, parked: FailedEvent) -> None:
        """Have it tried again later, unless it took effect meanwhile or is parked already."""
        parked = self._judged(parked)
        async with self._context.transaction() as work:
            same = (inbox.c.consumer == parked.consumer, inbox.c.event_id == parked.event_id)
            if await work.one(select(literal(1)).where(exists().where(*same))) is None:
                parking = insert_or_ignore(parked_events, work.database.dialect).values(self._row(parked, work))
                await work.execute(parking)
        self._tell(parked)

    async def due(self) -> Sequence[FailedEvent]:
        """Events whose time to be tried has come, by a consumer that is here, in the order in which they were parked."""
        async with self._context.reader() as reader:
            rows = await reader.rows(self._due, {"now": reader.now})
        return [FailedEvent(*row) for row in rows]

    async def remove(self, work: UnitOfWork, parked: FailedEvent) -> None:
        """It took effect, in this unit of work; the one behind it is next."""
        await work.execute(delete(parked_events).where(parked_events.c.id == parked.number))
        await self._wake_next(work, parked)

    async def leave(self, parked: FailedEvent) -> None:
        """It is parked no longer."""
        async with self._context.transaction() as work:
            await self.remove(work, parked)

    async def failed(self, parked: FailedEvent, error: Exception) -> None:
        """It failed again: later, or dead after its last try. One that is behind another only waits."""
        behind = _cause(error) == "BlockedByEarlierEvent"
        judged = self._judged(
            replace(parked, attempts=parked.attempts + (not behind), cause=_cause(error), error=_text(error))
        )
        if isinstance(error, NotAnEvent):
            judged = replace(judged, state="dead")
        async with self._context.transaction() as work:
            row = self._row(judged, work)
            kept = {name: row[name] for name in ("state", "attempts", "next_at", "cause", "error")}
            await work.execute(update(parked_events).where(parked_events.c.id == parked.number).values(kept))
            if judged.state == "dead":
                await self._wake_next(work, parked)
        self._tell(judged)

    async def count(self) -> None:
        """See how many wait, and for whom, and how many are dead, for whoever measures."""
        number = func.count().label("number")
        of_others = (parked_events.c.state == "waiting", ~self._is_ours)
        async with self._context.reader() as reader:
            rows = await reader.rows(select(parked_events.c.state, number).group_by(parked_events.c.state))
            strange = await reader.rows(
                select(parked_events.c.consumer, number).where(*of_others).group_by(parked_events.c.consumer)
            )
        found = {row.state: row.number for row in rows}
        self.waiting, self.dead = found.get("waiting", 0), found.get("dead", 0)
        self._tell_of_strangers({row.consumer: row.number for row in strange})

    async def _wake_next(self, work: UnitOfWork, parked: FailedEvent) -> None:
        following = await work.one(
            select(func.min(parked_events.c.id)).where(
                parked_events.c.consumer == parked.consumer,
                parked_events.c.aggregate == parked.aggregate,
                parked_events.c.state == "waiting",
                parked_events.c.id > parked.number,
            )
        )
        if following is not None:
            await work.execute(update(parked_events).where(parked_events.c.id == following).values(next_at=work.now))

    def _judged(self, parked: FailedEvent) -> FailedEvent:
        last = parked.attempts >= self._context.settings.event_attempts
        return replace(parked, state="dead") if last else parked

    def _row(self, parked: FailedEvent, work: UnitOfWork) -> dict[str, Any]:
        settings = self._context.settings
        backoff = Backoff(base=settings.event_retry_delay, limit=_LONGEST_DELAY, jitter=0.2)
        if parked.attempts == 0 or parked.cause == "BlockedByEarlierEvent":
            backoff = _BLOCKED_BACKOFF
        row = {name: getattr(parked, name) for name in _COLUMNS if name != "id"}
        delay = timedelta(seconds=backoff.delay(parked.attempts))
        return row | {"next_at": work.now + delay, "parked_at": work.now}

    def _tell(self, parked: FailedEvent) -> None:
        about = {"service": self._context.name, "consumer": parked.consumer, "event_id": parked.event_id}
        if parked.state == "dead":
            logger.error("event_dead", **about, type=parked.type, cause=parked.cause, attempts=parked.attempts)
        else:
            logger.warning("event_parked", **about, type=parked.type, cause=parked.cause, attempts=parked.attempts)

    def _tell_of_strangers(self, found: Mapping[str, int]) -> None:
        for consumer in found.keys() - self._unroutable.keys():
            about = {"service": self._context.name, "consumer": consumer, "number": found[consumer]}
            logger.warning("parked_events_stranded", **about)
        self._unroutable = found


_COLUMNS = ("id", "consumer", "event_id", "type", "aggregate", "body", "state", "attempts", "cause", "error")


def _is_of(consumers: Sequence[Consumer]) -> ColumnElement[bool]:
    """Whether a parked event is for one of these consumers to handle, or for whoever can read it."""
    mine = [
        and_(
            parked_events.c.consumer == each.name,
            or_(*(parked_events.c.type == kind.event_type for kind in each.events)),
        )
        for each in consumers
    ]
    return or_(parked_events.c.consumer == UNREADABLE, *mine)


def _due(is_ours: ColumnElement[bool]) -> Statement:
    return Statement(
        select(*(parked_events.c[name] for name in _COLUMNS))
        .where(parked_events.c.state == "waiting", parked_events.c.next_at <= bindparam("now"), is_ours)
        .order_by(parked_events.c.id)
        .limit(_BATCH)
    )


def _cause(error: BaseException) -> str:
    return error.code if isinstance(error, Problem) else type(error).__name__[:NAME_LENGTH]


def _text(error: BaseException) -> str:
    """What the error says; of a database's own only its kind, as its text repeats what was written."""
    said = error.sentence() if isinstance(error, Problem) else str(error).partition("\n[SQL")[0]
    return _storable(said, _LONGEST_ERROR)


def _identity(message: Message) -> str:
    """What tells a message from others when it comes again: a digest of it, where it has no id or one too long to keep."""
    if 0 < len(message.id) <= _LONGEST_KEY:
        return _storable(message.id, _LONGEST_KEY)
    digest = hashlib.sha256(f"{message.id}\0{message.key}\0".encode(errors="replace"))
    digest.update(message.body)
    return f"sha256:{digest.hexdigest()}"


def _storable(text: str, longest: int) -> str:
    """As much of `text` as is kept, in a form that every database takes: neither NUL nor half of a surrogate pair."""
    return text[:longest].encode(errors="replace").decode().replace("\0", "�")
