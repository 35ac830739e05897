"""Hearing events as they are published, in every process that listens."""

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
    """What one process hears of events: `broadcasts.to(SessionRevoked, refuse_its_tokens)`.

    A consumer handles an event once, in one process of its service, and misses none. Who listens is one of many: every
    process hears the event, nothing is stored for any of them, and each may miss some. So it is for what a process
    knows in memory, and can learn in another way too.
    """

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, int], type[Event]] = {}
        self._hearers: dict[type[Event], list[Callable[[Any], None]]] = {}
        self._changed = asyncio.Event()

    def to(self, kind: type[E], hear: Callable[[E], None]) -> None:
        """Have `hear` called with each event of `kind` from now on. It neither waits nor raises."""
        if kind not in self._hearers:
            self._kinds[kind.event_type, kind.version] = kind
            self._changed.set()
        self._hearers.setdefault(kind, []).append(hear)

    async def begun(self) -> None:
        """Wait until anybody listens."""
        if not self._hearers:
            await self._changed.wait()

    async def run(self, broker: Broker) -> None:
        """Hear of what anybody listens to, until cancelled."""
        await self.begun()
        while True:
            self._changed.clear()
            types = {name for name, _ in self._kinds}
            await run_until_first_ends(broker.subscribe(types, self._tell), self._changed.wait())

    def _tell(self, message: Message) -> None:
        try:
            envelope = Envelope.loaded(message.body)
            kind = self._kinds.get((envelope.type, envelope.version))
            if kind is not None:
                event = kind.model_validate(envelope.data).known_as(envelope.event_id)
                for hear in self._hearers[kind]:
                    hear(event)
        except Exception:
            logger.exception("broadcast_failed", message_id=message.id, type=message.type)
