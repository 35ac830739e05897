"""A broker in memory for tests of what uses one: it delivers nothing by itself, and fails when told to."""

from collections.abc import Collection, Mapping, Sequence

from portico.kit.messaging.brokers.base import BrokerUnavailable, Deliver, Message


class ScriptedBroker:
    """Keeps what is published; `absent` and `refusing` make it fail.

    Attributes:
        batches: what was published and confirmed, by publishing.
        absent: whether it can't be reached.
        refusing: ids of messages that it refuses for good.
        losing: whether it stores what is published and does not live to confirm it.
    """

    def __init__(self) -> None:
        self.batches: list[list[Message]] = []
        self.groups: dict[str, set[str]] = {}
        self.absent = False
        self.losing = False
        self.refusing: set[str] = set()

    @property
    def stored(self) -> list[Message]:
        """All messages, in order."""
        return [message for batch in self.batches for message in batch]

    async def declare(self, group: str, types: Collection[str]) -> None:
        await self.check()
        self.groups[group] = set(types)

    async def publish(self, messages: Sequence[Message]) -> Mapping[str, str]:
        await self.check()
        self.batches.append([message for message in messages if message.id not in self.refusing])
        if self.losing:
            raise BrokerUnavailable("it went away before it confirmed")
        return {message.id: "refused" for message in messages if message.id in self.refusing}

    async def consume(self, group: str, deliver: Deliver, *, concurrency: int) -> None:  # noqa: ARG002  # the protocol's
        for message in self.stored:
            if message.type in self.groups[group]:
                await deliver(message)

    async def check(self) -> None:
        if self.absent:
            raise BrokerUnavailable("it is not there")

    async def waiting(self, group: str) -> int:
        return sum(message.type in self.groups[group] for message in self.stored)

    async def aclose(self) -> None:
        """Nothing is held."""
