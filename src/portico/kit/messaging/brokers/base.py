import zlib
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

PARTITIONS = 8
"""Queues that a group's messages are spread over; what one key has to say stays in one of them, in order."""

MAX_MESSAGE = 1 << 20
"""Bytes of a body beyond which a message is refused, where no other limit is set."""


class BrokerUnavailable(Exception):
    """The broker can't be reached, or what became of a request is not known."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message as a broker carries it.

    Args:
        id: of what is told; a message that is delivered twice has the same.
        type: what groups choose by, such as `order.created`.
        key: messages with the same key are delivered in the order of publishing.
        body: what is told. A broker does not look into it.
    """

    id: str
    type: str
    key: str
    body: bytes


Deliver = Callable[[Message], Awaitable[None]]
"""Takes a message: returning acknowledges it; where it raises, the message comes again, later, and whatever else its
key has to say waits behind it."""

Hear = Callable[[Message], None]
"""Is told of a message that everyone who listens is told of. It neither waits nor raises."""


class Broker(Protocol):
    """Messages to groups of consumers: durable, at least once, in order per key.

    Each group gets each message of the types that it declared; of the consumers of one group, one gets it. Whoever
    listens hears each message as well, and nothing is kept for it. Every broker passes
    `tests.contracts.broker` and `broker_listening`.
    """

    async def declare(self, group: str, types: Collection[str]) -> None:
        """Make the group's queues, which from now on take messages of `types`, also while nobody consumes.

        Types that were declared before and are no longer named come no more; what lies in the queues is delivered.

        Raises:
            BrokerUnavailable: it is not known whether the group is declared: declare it again.
        """

    async def publish(self, messages: Sequence[Message]) -> Mapping[str, str]:
        """Store messages durably, in this order, in the queues of all groups that want them.

        Returns:
            The ids that are refused for good, each with the reason (too large). What is behind one of them and has its
            key may not be stored: publish it again. All others are stored.

        Raises:
            BrokerUnavailable: it is not known of all whether they are stored: publish all of them again.
        """

    async def consume(self, group: str, deliver: Deliver, *, concurrency: int) -> None:
        """Deliver the group's messages until cancelled, also over the broker's absence.

        Messages of one key are delivered in order and one at a time, of different keys up to `concurrency` side by
        side. What is not acknowledged when this ends is delivered again, to whoever consumes then.
        """

    async def listen(self, types: Collection[str], hear: Hear) -> None:
        """Hear messages of `types` as they are published, until cancelled, also over the broker's absence.

        Everyone who listens hears each of them, those of one type and key in order, and maybe again when it is
        published again. What is published before that, while the broker is away, or faster than it is heard, may never
        be: listen only for what can be learnt in another way.
        """

    async def check(self) -> None:
        """Ask the broker for an answer.

        Raises:
            BrokerUnavailable: there was none.
        """

    async def waiting(self, group: str) -> int:
        """How many messages the group has not acknowledged yet.

        Raises:
            BrokerUnavailable: there was no answer.
        """

    async def aclose(self) -> None:
        """Give back what is held; consuming has ended before."""


def partition_of(key: str) -> int:
    """The partition of a key, from 0 to PARTITIONS - 1, the same in every process and version."""
    return zlib.crc32(key.encode()) % PARTITIONS
