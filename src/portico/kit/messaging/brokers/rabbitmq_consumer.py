"""Consumer of the partitions of a group in RabbitMQ: the processes of a service share them."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from aiormq import Channel
from aiormq.abc import DeliveredMessage
from aiormq.exceptions import AMQPError, ChannelLockedResource

from portico.kit.foundation.aio import is_cancelled
from portico.kit.messaging.brokers.base import PARTITIONS, Message
from portico.kit.messaging.brokers.keyed_dispatcher import KeyedDispatcher
from portico.kit.messaging.brokers.rabbitmq_connection import RabbitMQConnection, translate_errors

_BALANCE_TIMEOUT = 30.0  # seconds to take or give up partitions
_CHECK = 1.0  # seconds between two counts of the processes, while there are several or a partition is missing
_CHECK_ALONE = 2.5  # the same, for a process that holds all partitions

# Unacknowledged messages per queue. It must not differ between processes or versions: a queue redelivers returned
# messages first, and in order only if the next consumer can hold as many as the last one did.
_PREFETCH = 16


@dataclass(eq=False, slots=True)
class _Held:
    """A partition that this process consumes, with the channel of its consumer."""

    channel: Channel
    unacknowledged: int = 0


class GroupConsumer:
    """Consumes an equal share of a group's partitions until the connection is lost.

    A process that consumes a partition has an exclusive queue named after it, `{queue}.lease`, which RabbitMQ deletes with
    the connection. Every process consumes the queue `{group}.members`, which has no messages: its consumers are counted.

    Args:
        connection: of this consumer alone.
        prefix: of the group's queues.
        arguments: of the queue whose consumers are counted.
        dispatcher: delivers the messages.
        unacknowledged: counts the messages of all groups that are not acknowledged.
    """

    def __init__(
        self,
        connection: RabbitMQConnection,
        prefix: str,
        arguments: Mapping[str, object],
        dispatcher: KeyedDispatcher,
        unacknowledged: Counter[str],
    ) -> None:
        self._connection = connection
        self._prefix = prefix
        self._arguments = dict(arguments)
        self._dispatcher = dispatcher
        self._unacknowledged = unacknowledged
        self._held: dict[int, _Held] = {}
        self._leases: Channel | None = None

    async def run(self) -> None:
        """Consume. Raises BrokerUnavailable when the connection or a consumer ends."""
        try:
            async with translate_errors():
                channel = await self._connection.channel(publisher_confirms=False)
                await channel.queue_declare(self._members, durable=True, arguments=self._arguments)  # type: ignore[arg-type]
                await channel.basic_consume(self._members, _ignore, no_ack=True)
            while True:
                async with translate_errors(_BALANCE_TIMEOUT):
                    members = await self._count_members(channel)
                    await self._balance(-(-PARTITIONS // members))
                if is_cancelled():  # the driver's `asyncio.wait_for` may have swallowed it
                    raise asyncio.CancelledError
                is_whole = members == 1 and len(self._held) == PARTITIONS
                channels = [channel, *(each.channel for each in self._held.values())]
                await self._connection.watch(channels, _CHECK_ALONE if is_whole else _CHECK)
        finally:
            for held in self._held.values():
                self._change(held, -held.unacknowledged)
            self._held.clear()

    @property
    def _members(self) -> str:
        return f"{self._prefix}.members"

    def _queue(self, partition: int) -> str:
        return f"{self._prefix}.{partition}"

    async def _count_members(self, channel: Channel) -> int:
        found = await channel.queue_declare(self._members, passive=True)
        return max(1, found.consumer_count or 0)

    async def _balance(self, share: int) -> None:
        """Give up partitions beyond the share, or take free ones."""
        surplus = sorted(self._held)[share:]
        if surplus:
            await self._give_up(surplus)
            return
        for partition in range(PARTITIONS):
            if len(self._held) < share and partition not in self._held and await self._lease(partition):
                await self._take(partition)

    async def _lease(self, partition: int) -> bool:
        """Return whether this process alone may consume a partition now."""
        if self._leases is None or self._leases.is_closed:
            self._leases = await self._connection.channel(publisher_confirms=False)
        found = await self._leases.queue_declare(self._queue(partition), passive=True)
        if found.consumer_count:
            return False
        try:
            await self._leases.queue_declare(f"{self._queue(partition)}.lease", exclusive=True)
        except ChannelLockedResource:  # another process was faster
            return False
        return True

    async def _take(self, partition: int) -> None:
        channel = await self._connection.channel(publisher_confirms=False)
        held = self._held[partition] = _Held(channel)
        await channel.basic_qos(prefetch_count=_PREFETCH)
        await channel.basic_consume(self._queue(partition), partial(self._enqueue, held, partition))

    async def _give_up(self, partitions: list[int]) -> None:
        """End the deliveries of partitions, return their messages in order, and let other processes take them."""
        given_up = {each: self._held.pop(each) for each in partitions}
        await self._dispatcher.withdraw(partitions)
        for partition, held in given_up.items():
            await held.channel.close()
            self._change(held, -held.unacknowledged)
            if self._leases is not None and not self._leases.is_closed:
                await self._leases.queue_delete(f"{self._queue(partition)}.lease")

    async def _enqueue(self, held: _Held, partition: int, delivered: DeliveredMessage) -> None:
        """Queue a message for delivery. It must not await before that: calls arrive in the queue's order."""
        tag = delivered.delivery_tag
        self._change(held, +1)

        async def acknowledge() -> None:
            if tag is not None:
                with suppress(
                    AMQPError, OSError, RuntimeError
                ):  # the channel is closed; the message is delivered again
                    await held.channel.basic_ack(tag, wait=False)
            if held.unacknowledged:
                self._change(held, -1)

        if self._held.get(partition) is held:
            self._dispatcher.add(to_message(delivered), acknowledge)

    def _change(self, held: _Held, by: int) -> None:
        held.unacknowledged += by
        self._unacknowledged[self._prefix] += by


async def _ignore(_: DeliveredMessage) -> None:
    """The queue has no messages."""


def to_message(delivered: DeliveredMessage) -> Message:
    properties = delivered.header.properties
    return Message(
        id=properties.message_id or "",
        type=properties.message_type or "",
        key=str((properties.headers or {}).get("key", "")),
        body=bytes(delivered.body),
    )
