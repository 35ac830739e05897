"""Interface of message brokers."""

import zlib
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

PARTITIONS = 8
"""Number of partitions of a group's messages. All messages with one key go to the same partition, in order."""

MAX_MESSAGE = 1 << 20
"""Default limit (bytes) of a message body. Larger messages are rejected."""


class BrokerUnavailable(Exception):
    """The broker cannot be reached, or the outcome of a request is unknown."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message as a broker carries it.

    Args:
        id: identifies the event. A redelivered message has the same id.
        type: event type that groups select by, such as `order.created`.
        key: messages with the same key are delivered in the order of publishing.
        body: serialized event. The broker does not read it.
    """

    id: str
    type: str
    key: str
    body: bytes


Deliver = Callable[[Message], Awaitable[None]]
"""Function that handles a message. When it returns, the message is acknowledged. If it raises, the message is delivered
again later, and later messages with the same key wait."""

OnMessage = Callable[[Message], None]
"""Function that handles a broadcast message. It must not block or raise."""


class Broker(Protocol):
    """Deliver messages to groups of consumers: durable, at least once, in order per key.

    Each group receives every message of the types that it declared. One consumer of the group handles it. Subscribers
    receive messages too, but the broker stores none for them. Every broker passes `tests.contracts.broker` and
    `broker_subscriptions`.
    """

    async def declare(self, group: str, types: Collection[str]) -> None:
        """Create the group's queues. From now on they receive messages of `types`, even while no consumer runs.

        This replaces an earlier declaration: messages of types that are no longer named are not queued any more.
        Messages already queued are still delivered.

        Raises:
            BrokerUnavailable: the outcome is unknown. Declare the group again.
        """

    async def publish(self, messages: Sequence[Message]) -> Mapping[str, str]:
        """Store messages durably, in this order, in the queues of all groups that declared their type.

        Returns:
            The ids of rejected messages (too large), each with the reason. A message that follows a rejected message
            with the same key may not be stored either: publish it again. All others are stored.

        Raises:
            BrokerUnavailable: some messages may not be stored. Publish all of them again.
        """

    async def consume(self, group: str, deliver: Deliver, *, concurrency: int) -> None:
        """Deliver the group's messages until cancelled. Reconnect when the broker is unavailable.

        Messages with one key are delivered in order, one at a time. Up to `concurrency` messages with different keys
        are delivered at the same time. Messages that are not acknowledged when this ends are delivered again, to
        another consumer.
        """

    async def subscribe(self, types: Collection[str], handler: OnMessage) -> None:
        """Pass messages of `types` to the handler as they are published, until cancelled. Reconnect when necessary.

        Every subscriber receives every message, in order per type and key. A message that is published twice can arrive
        twice. Delivery is best effort: messages published before the subscription, while the broker is unavailable, or
        faster than the handler processes them can be lost.
        """

    async def check(self) -> None:
        """Check that the broker responds.

        Raises:
            BrokerUnavailable: it did not respond.
        """

    async def backlog(self, group: str) -> int:
        """Return the number of messages that the group has not acknowledged yet.

        Raises:
            BrokerUnavailable: the broker did not respond.
        """

    async def aclose(self) -> None:
        """Close the connections. Call this after all consumers have ended."""


def partition_of(key: str) -> int:
    """Return the partition of a key, from 0 to PARTITIONS - 1. It is the same in every process and version."""
    return zlib.crc32(key.encode()) % PARTITIONS
