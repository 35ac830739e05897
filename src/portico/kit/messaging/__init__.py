"""Messaging: events, consumers, outbox, inbox, relay and brokers."""

from typing import TYPE_CHECKING

from portico.kit.foundation.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from portico.kit.messaging.broadcast import Broadcasts
    from portico.kit.messaging.consumer import consumes
    from portico.kit.messaging.event import Event, EventId
    from portico.kit.messaging.retention import MARGIN
else:
    __getattr__ = lazy_exports(
        __name__,
        {
            "broadcast": "Broadcasts",
            "consumer": "consumes",
            "event": "Event EventId",
            "retention": "MARGIN",
        },
    )

__all__ = [
    "MARGIN",
    "Broadcasts",
    "Event",
    "EventId",
    "consumes",
]
