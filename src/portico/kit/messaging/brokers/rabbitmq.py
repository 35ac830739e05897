"""Messages in RabbitMQ: quorum queues, a partition each, with one consumer at a time."""

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Self

import orjson
from aiormq import Channel
from aiormq.abc import DeliveredMessage
from aiormq.exceptions import AMQPError
from pamqp.commands import Basic
from pamqp.common import FieldTable

from portico.kit.messaging.brokers.base import (
    MAX_MESSAGE,
    PARTITIONS,
    BrokerUnavailable,
    Deliver,
    Hear,
    Message,
)
from portico.kit.messaging.brokers.batches import in_batches, to_be_sent, too_large
from portico.kit.messaging.brokers.keyed_dispatcher import KeyedDispatcher, keep_consuming
from portico.kit.messaging.brokers.rabbitmq_connection import PATIENCE, RabbitMQConnection, understood
from portico.kit.messaging.brokers.rabbitmq_sending import send

_DECLARING = 30.0  # seconds: a quorum queue is some work to make
_COUNTINGS = 3
_IN_FLIGHT = 1000  # messages that are sent together, and then seen confirmed
_BYTES_IN_FLIGHT = 4 << 20  # likewise, unless one is larger

# Unacknowledged messages of one queue. The same in every process and version: a queue gives returned messages out
# first, and in order only where its next consumer can hold as many as the last one did.
_PREFETCH = 16

_QUEUE: FieldTable = {
    "x-queue-type": "quorum",
    "x-single-active-consumer": True,
    # RabbitMQ 4 drops a message that came back twenty times, be it that its consumer was killed.
    "x-delivery-limit": 1_000_000_000,
}
_RECORD: FieldTable = {"x-queue-type": "quorum"}
_FOR_LISTENER: FieldTable = {"x-max-length": 10_000}  # beyond it the oldest go


class RabbitMQBroker:
    """The events of one system in RabbitMQ.

    A direct exchange `{system}.events`, routed by type and partition; queues `{system}.{group}.{partition}` with a
    single active consumer, so that one process at a time has what one key has to say. What a group wants is kept in
    `{system}.{group}.types`, since AMQP can't be asked for bindings. Who listens has a queue of its own,
    `{system}.broadcasts.{random}`, gone with its connection.

    Args:
        url: `amqp://` or `amqps://`.
        system: whose events they are.
        size_limit: bytes of a body, refused beyond it.
    """

    def __init__(self, url: str, system: str, *, size_limit: int = MAX_MESSAGE) -> None:
        self._url = url
        self._system = system
        self._exchange = f"{system}.events"
        self._size_limit = size_limit
        self._connection: RabbitMQConnection | None = None
        self._publisher: Channel | None = None
        self._connecting = asyncio.Lock()
        self._held: Counter[str] = Counter()

    async def declare(self, group: str, types: Collection[str]) -> None:
        async with self._asking(_DECLARING) as channel:
            queues = [self._queue(group, partition) for partition in range(PARTITIONS)]
            for queue in queues:
                await channel.queue_declare(queue, durable=True, arguments=_QUEUE)
            record = f"{self._system}.{group}.types"
            await channel.queue_declare(record, durable=True, arguments=_RECORD)
            # The new record lies there before the old ones go: what is bound is always in one of them.
            before = await self._recorded(channel, record)
            await channel.basic_publish(
                orjson.dumps(sorted(types)), routing_key=record, properties=Basic.Properties(delivery_mode=2)
            )
            for each in sorted(types):
                for partition, queue in enumerate(queues):
                    await channel.queue_bind(queue, self._exchange, f"{each}.{partition}")
            for each in sorted(set().union(*before.values()) - set(types)):
                for partition, queue in enumerate(queues):
                    await channel.queue_unbind(queue, self._exchange, f"{each}.{partition}")
            for tag in before:
                await channel.basic_ack(tag)

    async def publish(self, messages: Sequence[Message]) -> Mapping[str, str]:
        refused = too_large(messages, self._size_limit)
        for some in in_batches(to_be_sent(messages, refused), most=_IN_FLIGHT, most_bytes=_BYTES_IN_FLIGHT):
            await self._publish(some)
        return refused

    async def consume(self, group: str, deliver: Deliver, *, concurrency: int) -> None:
        await keep_consuming(group, partial(self._consume, group, deliver, concurrency))

    async def listen(self, types: Collection[str], hear: Hear) -> None:
        await keep_consuming("listeners", partial(self._listen, types, hear))

    async def check(self) -> None:
        async with self._asking() as channel:
            await channel.exchange_declare(self._exchange, exchange_type="direct", durable=True)

    async def waiting(self, group: str) -> int:
        """As the protocol says, without the few that consumers of other processes have in their hands."""
        ready = 0
        for _ in range(_COUNTINGS):
            held = self._held[group]
            ready = await self._count_ready(group)
            if held == self._held[group]:
                break  # none went from there to here meanwhile
        return ready + self._held[group]

    async def _count_ready(self, group: str) -> int:
        async with self._asking() as channel:
            queues = [self._queue(group, partition) for partition in range(PARTITIONS)]
            found = [await channel.queue_declare(each, passive=True) for each in queues]
        return sum(each.message_count or 0 for each in found)

    async def aclose(self) -> None:
        await self._drop(self._connection)

    async def _publish(self, messages: Sequence[Message]) -> None:
        """Send all, then see all confirmed.

        What was sent and is not confirmed may be lost, but nothing behind the first that is lost is stored: the
        connection is given up. So the first copies of all messages are in order, however often they are published.
        """
        connection, channel = await self._ready()
        try:
            async with understood():
                await asyncio.gather(*await send(channel, self._exchange, messages))
        except BaseException:
            await self._drop(connection)
            raise

    async def _consume(self, group: str, deliver: Deliver, concurrency: int) -> None:
        async with RabbitMQConnection(self._url) as connection:
            with _Held(self._held, group) as held:
                async with KeyedDispatcher(group, deliver, concurrency) as lines:
                    async with understood():
                        channel = await connection.channel(publisher_confirms=False)
                        await channel.basic_qos(prefetch_count=_PREFETCH)
                        take = partial(_take, channel, lines, held)
                        for partition in range(PARTITIONS):
                            await channel.basic_consume(self._queue(group, partition), take)
                    await connection.lost(channel)

    async def _listen(self, types: Collection[str], hear: Hear) -> None:
        queue = f"{self._system}.listening.{secrets.token_hex(8)}"

        async def take(delivered: DeliveredMessage) -> None:
            hear(_loaded(delivered))

        async with RabbitMQConnection(self._url) as connection:
            async with understood():
                channel = await connection.channel(publisher_confirms=False)
                # The exchange is for those to make who publish; until then binding fails, and is tried again.
                await channel.queue_declare(queue, exclusive=True, auto_delete=True, arguments=_FOR_LISTENER)
                for each in sorted(types):
                    for partition in range(PARTITIONS):
                        await channel.queue_bind(queue, self._exchange, f"{each}.{partition}")
                await channel.basic_consume(queue, take, no_ack=True)
            await connection.lost(channel)

    async def _recorded(self, channel: Channel, record: str) -> dict[int, set[str]]:
        """What the group wanted, by the tags of the messages that say so."""
        found: dict[int, set[str]] = {}
        while True:
            message = await channel.basic_get(record)
            if not isinstance(message.delivery, Basic.GetOk) or message.delivery.delivery_tag is None:
                return found
            found[message.delivery.delivery_tag] = set(orjson.loads(message.body))

    def _queue(self, group: str, partition: int) -> str:
        return f"{self._system}.{group}.{partition}"

    @asynccontextmanager
    async def _asking(self, patience: float = PATIENCE) -> AsyncIterator[Channel]:
        """A channel for one request: one that is refused closes its channel."""
        connection, _ = await self._ready()
        try:
            async with understood(patience):
                channel = await connection.channel(publisher_confirms=True)
                yield channel
                await channel.close()
        except BrokerUnavailable:
            if not connection.is_usable:
                await self._drop(connection)
            raise

    async def _ready(self) -> tuple[RabbitMQConnection, Channel]:
        """The connection and the channel that publishes, made anew where they were lost."""
        async with self._connecting:
            connection, publisher = self._connection, self._publisher
            if connection is not None and publisher is not None and connection.is_usable and not publisher.is_closed:
                return connection, publisher
            await self._drop(connection)
            connection = await RabbitMQConnection(self._url).__aenter__()
            self._connection = connection
            async with understood():
                publisher = await connection.channel(publisher_confirms=True)
                await publisher.exchange_declare(self._exchange, exchange_type="direct", durable=True)
            self._publisher = publisher
            return connection, publisher

    async def _drop(self, connection: RabbitMQConnection | None) -> None:
        if connection is not None and connection is self._connection:
            self._connection = self._publisher = None
        if connection is not None:
            await connection.aclose()


class _Held:
    """How many messages one consumer has in its hands."""

    def __init__(self, held: Counter[str], group: str) -> None:
        self._held = held
        self._group = group
        self._mine = 0

    def change(self, by: int) -> None:
        self._mine += by
        self._held[self._group] += by

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.change(-self._mine)


async def _take(channel: Channel, lines: KeyedDispatcher, held: _Held, delivered: DeliveredMessage) -> None:
    """Line a message up before anything is awaited: this is called in the queue's order."""
    tag = delivered.delivery_tag
    held.change(+1)

    async def taken() -> None:
        if tag is not None:
            with suppress(AMQPError, OSError, RuntimeError):  # the channel has ended, and all of this with it
                await channel.basic_ack(tag, wait=False)
        held.change(-1)

    lines.add(_loaded(delivered), taken)


def _loaded(delivered: DeliveredMessage) -> Message:
    properties = delivered.header.properties
    return Message(
        id=properties.message_id or "",
        type=properties.message_type or "",
        key=str((properties.headers or {}).get("key", "")),
        body=bytes(delivered.body),
    )
