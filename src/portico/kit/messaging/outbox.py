"""The outbox: events are written in the transaction that makes them true, and published after it."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import insert

from portico.kit.data.kit_tables import outbox
from portico.kit.data.statements import Statement
from portico.kit.data.unit_of_work import NotPublished, UnitOfWork
from portico.kit.messaging.envelope import dumped
from portico.kit.messaging.event import Event
from portico.kit.telemetry.context import current_trace

_INSERT = Statement(insert(outbox).inline())


class Outbox:
    """Where a service's units of work leave their events.

    Args:
        source: who the events are from, `/{system}/{service}`.
        publishes: what the service declares; anything else is refused.
        size_limit: bytes of an event as JSON.
        wake: called once events are committed.
    """

    def __init__(
        self, source: str, publishes: Collection[type[Event]], *, size_limit: int, wake: Callable[[], None]
    ) -> None:
        self._source = source
        self._publishes = frozenset(publishes)
        self._size_limit = size_limit
        self._wake = wake

    def check(self, event: Event) -> None:
        """Raises NotPublished where the service does not declare such events."""
        if type(event) not in self._publishes:
            raise NotPublished(f"{self._source} does not declare {type(event).__name__}: Service(publishes=[…])")

    async def write(self, work: UnitOfWork, events: Sequence[Event]) -> None:
        """Write the events in the transaction of `work`, in order. Raises NotPublished if one is too large."""
        trace = current_trace()
        await work.write_each(_INSERT, [self._row(event, work.now, trace) for event in events])

    def committed(self) -> None:
        """Wake the relay."""
        self._wake()

    def _row(self, event: Event, now: datetime, trace: str | None) -> dict[str, Any]:
        body = dumped(event, source=self._source, time=now, trace=trace)
        if len(body) > self._size_limit:
            raise NotPublished(f"{event.event_type} is larger than EVENT_SIZE_LIMIT: {len(body)} characters")
        return {
            "event_id": event.event_id,
            "type": event.event_type,
            "aggregate": event.aggregate_id,
            "body": body,
            "occurred_at": now,
        }
