"""Transactional outbox: events are stored in the transaction of the change, and published after the commit."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import insert

from portico.kit.data.kit_tables import outbox
from portico.kit.data.statements import Statement
from portico.kit.data.unit_of_work import NotPublished, Publication, UnitOfWork
from portico.kit.messaging.envelope import serialize
from portico.kit.messaging.event import Event

_INSERT = Statement(insert(outbox).inline())


class Outbox:
    """Store the events of a service's units of work.

    Args:
        source: publishing service, `/{system}/{service}`.
        publishes: the events that the service declares; others are rejected.
        size_limit: maximum size (characters) of an event as JSON.
        wake: called after a commit with events.
    """

    def __init__(
        self, source: str, publishes: Collection[type[Event]], *, size_limit: int, wake: Callable[[], None]
    ) -> None:
        self._source = source
        self._publishes = frozenset(publishes)
        self._size_limit = size_limit
        self._wake = wake

    def check(self, event: Event) -> None:
        """Raise NotPublished if the service does not declare this event class."""
        if type(event) not in self._publishes:
            raise NotPublished(
                f"{self._source} does not declare {type(event).__name__}. Add it to Service(publishes=[…])."
            )

    async def write(self, work: UnitOfWork, publications: Sequence[Publication]) -> None:
        """Store the events in the transaction of `work`, in order. Raises NotPublished if one is too large."""
        await work.write_each(_INSERT, [self._row(each.event, each.at, each.trace) for each in publications])

    def on_commit(self) -> None:
        """Wake the relay."""
        self._wake()

    def _row(self, event: Event, now: datetime, trace: str | None) -> dict[str, Any]:
        body = serialize(event, source=self._source, time=now, trace=trace)
        if len(body) > self._size_limit:
            raise NotPublished(
                f"{event.event_type} has {len(body)} characters, more than EVENT_SIZE_LIMIT. Shorten it or raise the limit."
            )
        return {
            "event_id": event.message_id,
            "type": event.event_type,
            "aggregate": event.aggregate_id,
            "body": body,
            "occurred_at": now,
        }
