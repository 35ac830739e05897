"""Broadcast subscriptions: every subscribed process receives an event as it is published."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from portico.kit.messaging.brokers.base import Broker, Message
from portico.kit.messaging.brokers.keyed_dispatcher import run_until_first_ends
from portico.kit.messaging.envelope import Envelope
from portico.kit.messaging.event import Event
from portico.kit.telemetry.logs import get_logger

logger = get_logger(__name__)

E = TypeVar("E", bound=Event)


class Broadcasts:
    """Subscriptions of one process: `broadcasts.subscribe(SessionRevoked, reject_its_tokens)`.

    A consumer handles every event, once, in one process of its service. A broadcast reaches every subscribed process,
    but it is not stored: events published while the process starts or the broker is down are lost. Use a broadcast for
    state in memory that the process can also obtain in another way.
    """

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, int], type[Event]] = {}
        self._handlers: dict[type[Event], list[Callable[[Any], None]]] = {}
        self._changed = asyncio.Event()

    def subscribe(self, kind: type[E], handler: Callable[[E], None]) -> None:
        """Call `handler` with each event of this type from now on. The handler must not block or raise."""
        if kind not in self._handlers:
            self._kinds[kind.event_type, kind.version] = kind
            self._changed.set()
        self._handlers.setdefault(kind, []).append(handler)

    async def wait_for_subscription(self) -> None:
        """Wait for the first subscription."""
        if not self._handlers:
            await self._changed.wait()

    async def run(self, broker: Broker) -> None:
        """Receive the subscribed events until cancelled."""
        await self.wait_for_subscription()
        while True:
            self._changed.clear()
            types = {name for name, _ in self._kinds}
            await run_until_first_ends(broker.subscribe(types, self._receive), self._changed.wait())

    def _receive(self, message: Message) -> None:
        try:
            envelope = Envelope.parse(message.body)
            kind = self._kinds.get((envelope.type, envelope.version))
            if kind is not None:
                event = kind.model_validate(envelope.data).with_message_id(envelope.event_id)
                for handler in self._handlers[kind]:
                    handler(event)
        except Exception:
            logger.exception("broadcast_failed", message_id=message.id, type=message.type)
