"""The part of a service's context that messaging needs."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from portico.kit.data.engine import Database
from portico.kit.messaging.consumer import Consumer
from portico.kit.messaging.event import Event
from portico.kit.service_context import ServiceContext


class MessagingContext(ServiceContext, Protocol):
    """A service that publishes or consumes events.

    Attributes:
        database: holds outbox, inbox and retry queue.
        committed_events: set when this process has committed events; it wakes the relay.
    """

    database: Database
    committed_events: asyncio.Event

    @property
    def consumers(self) -> Sequence[Consumer]:
        """The consumers that the service declares."""
        ...

    @property
    def publishes(self) -> Sequence[type[Event]]:
        """The events that the service declares."""
        ...
