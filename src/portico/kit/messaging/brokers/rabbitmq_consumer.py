"""Consumer of a group in RabbitMQ: the processes of a service share its partitions."""

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from aiormq import Channel
from aiormq.abc import DeliveredMessage
from aiormq.exceptions import AMQPError

from portico.kit.foundation.aio import is_cancelled
from portico.kit.messaging.brokers.base import PARTITIONS, BrokerUnavailable, Message
from portico.kit.messaging.brokers.keyed_dispatcher import KeyedDispatcher
from portico.kit.messaging.brokers.rabbitmq_connection import RabbitMQConnection, translate_errors

_CHECK = 2.5  # seconds between two counts of the processes

# Unacknowledged messages per queue. It must not differ between processes or versions: a queue redelivers returned
# messages first, and in order only if the next consumer can hold as many as the last one did.
_PREFETCH = 16


@dataclass(eq=False, slots=True)
class _Registration:
    """The consumer of a partition's queue in this process, with its own channel.

    Attributes:
        is_active: whether the queue has delivered a message: it delivers only to its active consumer.
        is_ending: whether further messages are returned to the queue.
    """

    partition: int
    channel: Channel
    is_active: bool = False
    is_ending: bool = False
    unacknowledged: int = 0


class GroupConsumer:
    """Consumes a group's partitions until the connection is lost.

    Every process registers a consumer with the queue of each partition. The queue delivers to the first one until it
    ends, then to the next. A process that is the active consumer of more than its share of the partitions registers
    again with the surplus queues, behind the other processes. To be counted, each process is also a consumer of the
    queue `{prefix}.members`, which has no messages and is deleted with its last consumer.

    Args:
        connection: connection that only this consumer uses.
        prefix: prefix of the group's queues.
        dispatcher: delivers the messages.
        unacknowledged: counts the messages of all groups that are not acknowledged.
    """

    def __init__(
        self, connection: RabbitMQConnection, prefix: str, dispatcher: KeyedDispatcher, unacknowledged: Counter[str]
    ) -> None:
        self._connection = connection
        self._prefix = prefix
        self._dispatcher = dispatcher
        self._unacknowledged = unacknowledged
        self._registered: dict[int, _Registration] = {}
        self._counting: Channel | None = None

    async def run(self) -> None:
        """Consume. Raises BrokerUnavailable when the connection or a consumer ends."""
        try:
            async with translate_errors():
                for partition in range(PARTITIONS):
                    await self._register(partition)
            while True:
                share = -(-PARTITIONS // await self._count_members())
                if is_cancelled():  # the driver's `asyncio.wait_for` may have swallowed it
                    raise asyncio.CancelledError
                active = [each for each in self._registered.values() if each.is_active]
                if surplus := active[share:]:
                    await self._give_up(surplus)
                await self._connection.watch((each.channel for each in self._registered.values()), _CHECK)
        finally:
            for each in self._registered.values():
                self._change(each, -each.unacknowledged)
            self._registered.clear()

    @property
    def _members(self) -> str:
        return f"{self._prefix}.members"

    def _queue(self, partition: int) -> str:
        return f"{self._prefix}.{partition}"

    async def _count_members(self) -> int:
        """Return the number of processes, or 1 if RabbitMQ does not respond, so that partitions are consumed anyway."""
        try:
            async with translate_errors():
                if self._counting is None or self._counting.is_closed:
                    self._counting = await self._connection.channel(publisher_confirms=False)
                    await self._counting.queue_declare(self._members, durable=True, auto_delete=True)
                    await self._counting.basic_consume(self._members, _ignore, no_ack=True)
                found = await self._counting.queue_declare(self._members, passive=True)
        except BrokerUnavailable:
            self._counting = None
            return 1
        return max(1, found.consumer_count or 0)

    async def _register(self, partition: int) -> None:
        """Register behind the consumers of other processes."""
        channel = await self._connection.channel(publisher_confirms=False)
        registration = self._registered[partition] = _Registration(partition, channel)
        await channel.basic_qos(prefetch_count=_PREFETCH)
        await channel.basic_consume(self._queue(partition), partial(self._enqueue, registration))

    async def _give_up(self, surplus: list[_Registration]) -> None:
        """End the deliveries of partitions, return their messages in order, and register again.

        A surplus partition moves from process to process until one has fewer than its share.
        """
        for each in surplus:
            each.is_ending = True
        await self._dispatcher.withdraw({each.partition for each in surplus})
        async with translate_errors():
            for each in surplus:
                await each.channel.close()
                self._change(each, -each.unacknowledged)
                await self._register(each.partition)

    async def _enqueue(self, registration: _Registration, delivered: DeliveredMessage) -> None:
        """Queue a message for delivery. Do not await before that, because calls arrive in the queue's order."""
        tag = delivered.delivery_tag
        registration.is_active = True
        self._change(registration, +1)

        async def acknowledge() -> None:
            if tag is not None:
                with suppress(
                    AMQPError, OSError, RuntimeError
                ):  # the channel is closed; the message is delivered again
                    await registration.channel.basic_ack(tag, wait=False)
            if registration.unacknowledged:
                self._change(registration, -1)

        if not registration.is_ending:
            self._dispatcher.add(to_message(delivered), acknowledge)

    def _change(self, registration: _Registration, by: int) -> None:
        registration.unacknowledged += by
        self._unacknowledged[self._prefix] += by


async def _ignore(_: DeliveredMessage) -> None:
    """Do nothing, because the queue has no messages."""


def to_message(delivered: DeliveredMessage) -> Message:
    properties = delivered.header.properties
    return Message(
        id=properties.message_id or "",
        type=properties.message_type or "",
        key=str((properties.headers or {}).get("key", "")),
        body=bytes(delivered.body),
    )
