"""An in-memory broker for tests. It delivers only on request, and fails as the test says."""

import asyncio
from collections.abc import Collection, Mapping, Sequence

from portico.kit.messaging.brokers.base import BrokerUnavailable, Deliver, Message, OnMessage
from portico.kit.messaging.brokers.batches import messages_to_send

_TIMEOUT = 60.0  # seconds


class ScriptedBroker:
    """Stores published messages. `absent`, `refusing` and `losing` make it fail.

    Attributes:
        batches: the confirmed messages of each publication.
        absent: whether it is unreachable.
        refusing: ids of messages that it rejects permanently.
        losing: whether it stores messages and fails before it confirms them.
        listeners: the event types and the handler of each subscription.
    """

    def __init__(self) -> None:
        self.batches: list[list[Message]] = []
        self.groups: dict[str, set[str]] = {}
        self.absent = False
        self.losing = False
        self.refusing: set[str] = set()
        self.listeners: list[tuple[Collection[str], OnMessage]] = []
        self._begun = asyncio.Condition()

    @property
    def stored(self) -> list[Message]:
        """All messages, in order."""
        return [message for batch in self.batches for message in batch]

    async def declare(self, group: str, types: Collection[str]) -> None:
        await self.check()
        self.groups[group] = set(types)

    async def publish(self, messages: Sequence[Message]) -> Mapping[str, str]:
        await self.check()
        self.batches.append(list(messages_to_send(messages, self.refusing)))
        for types, handler in self.listeners:
            for message in messages:
                if message.type in types:
                    handler(message)
        if self.losing:
            raise BrokerUnavailable("it failed before it confirmed")
        return {message.id: "refused" for message in messages if message.id in self.refusing}

    async def consume(self, group: str, deliver: Deliver, *, concurrency: int) -> None:  # noqa: ARG002  # the protocol's
        for message in self.stored:
            if message.type in self.groups[group]:
                await deliver(message)

    async def subscribe(self, types: Collection[str], handler: OnMessage) -> None:
        async with self._begun:
            self.listeners.append((types, handler))
            self._begun.notify_all()
        try:
            await asyncio.Event().wait()
        finally:
            self.listeners.remove((types, handler))

    async def until_listened_to(self, types: Collection[str]) -> None:
        """Wait until one listens, to exactly these types. Raises TimeoutError."""
        async with asyncio.timeout(_TIMEOUT), self._begun:
            await self._begun.wait_for(lambda: [set(each) for each, _ in self.listeners] == [set(types)])

    async def check(self) -> None:
        if self.absent:
            raise BrokerUnavailable("it is unreachable")

    async def backlog(self, group: str) -> int:
        return sum(message.type in self.groups[group] for message in self.stored)

    async def aclose(self) -> None:
        """Do nothing: it has no connection."""
