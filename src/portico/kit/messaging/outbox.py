"""The outbox: events are written in the transaction that makes them true, and published after it."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import insert

from portico.kit.data.kit_tables import outbox
from portico.kit.data.statements import Prepared
from portico.kit.messaging.envelope import dumped
from portico.kit.messaging.event import Event
from portico.kit.telemetry.context import current_trace


class NotPublished(TypeError):
    """A service publishes an event that it does not declare, or one that is too large."""


class Outbox:
    """Where a service's units of work leave their events.

    Args:
        source: who the events are from, `/{system}/{service}`.
        publishes: what the service declares; anything else is refused.
        size_limit: bytes of an event as JSON.
        wake: called once events are committed.
    """

    put = Prepared(insert(outbox).inline())
    """Writes rows of events; nobody needs to be told their numbers."""

    def __init__(
        self, source: str, publishes: Collection[type[Event]], *, size_limit: int, wake: Callable[[], None]
    ) -> None:
        self._source = source
        self._publishes = frozenset(publishes)
        self._size_limit = size_limit
        self.wake = wake

    def check(self, event: Event) -> None:
        """Raises NotPublished where the service does not declare such events."""
        if type(event) not in self._publishes:
            raise NotPublished(f"{self._source} does not declare {type(event).__name__}: Service(publishes=[…])")

    def rows(self, events: Sequence[Event], now: datetime) -> list[dict[str, Any]]:
        """The rows of `events`, in order. Raises NotPublished where one is too large."""
        trace = current_trace()
        return [self._row(event, now, trace) for event in events]

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
