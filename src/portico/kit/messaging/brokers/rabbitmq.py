"""Broker on RabbitMQ: one quorum queue per group and partition, with a single active consumer."""

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial

import orjson
from aiormq import Channel
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic
from pamqp.common import FieldTable

from portico.kit.messaging.brokers.base import (
    MAX_MESSAGE,
    PARTITIONS,
    BrokerUnavailable,
    Deliver,
    Message,
    OnMessage,
)
from portico.kit.messaging.brokers.batches import in_batches, messages_to_send, too_large
from portico.kit.messaging.brokers.keyed_dispatcher import KeyedDispatcher, consume_until_cancelled
from portico.kit.messaging.brokers.rabbitmq_connection import REQUEST_TIMEOUT, RabbitMQConnection, translate_errors
from portico.kit.messaging.brokers.rabbitmq_consumer import GroupConsumer, to_message
from portico.kit.messaging.brokers.rabbitmq_publish import send

_DECLARE_TIMEOUT = 30.0  # seconds; creating a quorum queue takes time
_WATCH = 3600.0  # seconds that one call of `RabbitMQConnection.watch` waits
_COUNT_ATTEMPTS = 3  # attempts to count messages while none moves from a queue to a consumer
_IN_FLIGHT = 1000  # messages sent before waiting for confirmation
_BYTES_IN_FLIGHT = 4 << 20  # maximum size of their bodies, unless one message is larger

_QUEUE: FieldTable = {
    "x-queue-type": "quorum",
    "x-single-active-consumer": True,
    # By default RabbitMQ 4 drops a message after twenty deliveries, even if its consumers were killed.
    "x-delivery-limit": 1_000_000_000,
}
_TYPES_QUEUE: FieldTable = {"x-queue-type": "quorum"}
_SUBSCRIBER_QUEUE: FieldTable = {"x-max-length": 10_000}  # beyond it the oldest messages are dropped


class RabbitMQBroker:
    """Events of one system in RabbitMQ.

    A direct exchange `{system}.events` routes by type and partition. The queues `{system}.{group}.{partition}` have a
    single active consumer, so one process at a time handles the messages of one key. The processes of a group share the
    queues, see `GroupConsumer`. The queue `{system}.{group}.types` stores the types that a group declared, because AMQP
    cannot list bindings. Each subscriber has its own queue, `{system}.broadcasts.{random}`, which is deleted when its
    connection closes.

    Args:
        url: `amqp://` or `amqps://`.
        system: name of the system, the prefix of the queues.
        size_limit: maximum size (bytes) of a message body.
    """

    def __init__(self, url: str, system: str, *, size_limit: int = MAX_MESSAGE) -> None:
        self._url = url
        self._system = system
        self._exchange = f"{system}.events"
        self._size_limit = size_limit
        self._connection: RabbitMQConnection | None = None
        self._publisher: Channel | None = None
        self._connecting = asyncio.Lock()
        self._unacknowledged: Counter[str] = Counter()

    async def declare(self, group: str, types: Collection[str]) -> None:
        async with self._request(_DECLARE_TIMEOUT) as channel:
            queues = [self._queue(group, partition) for partition in range(PARTITIONS)]
            for queue in queues:
                await channel.queue_declare(queue, durable=True, arguments=_QUEUE)
            record = f"{self._system}.{group}.types"
            await channel.queue_declare(record, durable=True, arguments=_TYPES_QUEUE)
            # Write the new record before deleting the old ones: every binding is always in one of them.
            before = await self._recorded_types(channel, record)
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
        for some in in_batches(messages_to_send(messages, refused), max_count=_IN_FLIGHT, max_bytes=_BYTES_IN_FLIGHT):
            await self._publish(some)
        return refused

    async def consume(self, group: str, deliver: Deliver, *, concurrency: int) -> None:
        await consume_until_cancelled(group, partial(self._consume, group, deliver, concurrency))

    async def subscribe(self, types: Collection[str], handler: OnMessage) -> None:
        await consume_until_cancelled("broadcasts", partial(self._subscribe, types, handler))

    async def check(self) -> None:
        async with self._request() as channel:
            await channel.exchange_declare(self._exchange, exchange_type="direct", durable=True)

    async def backlog(self, group: str) -> int:
        """Return the number of unacknowledged messages, except those delivered to consumers of other processes."""
        ready, prefix = 0, f"{self._system}.{group}"
        for _ in range(_COUNT_ATTEMPTS):
            unacknowledged = self._unacknowledged[prefix]
            ready = await self._count_ready(group)
            if unacknowledged == self._unacknowledged[prefix]:
                break  # no message was delivered while counting
        return ready + self._unacknowledged[prefix]

    async def _count_ready(self, group: str) -> int:
        async with self._request() as channel:
            queues = [self._queue(group, partition) for partition in range(PARTITIONS)]
            found = [await channel.queue_declare(each, passive=True) for each in queues]
        return sum(each.message_count or 0 for each in found)

    async def aclose(self) -> None:
        await self._drop(self._connection)

    async def _publish(self, messages: Sequence[Message]) -> None:
        """Send all messages, then wait until all are confirmed.

        A message without a confirmation may be lost. The connection is closed at the first loss, so that no later
        message is stored before it. If messages are published again, their first copies are therefore still in order.
        """
        connection, channel = await self._ready()
        try:
            async with translate_errors():
                await asyncio.gather(*await send(channel, self._exchange, messages))
        except BaseException:
            await self._drop(connection)
            raise

    async def _consume(self, group: str, deliver: Deliver, concurrency: int) -> None:
        async with (
            RabbitMQConnection(self._url) as connection,
            KeyedDispatcher(group, deliver, concurrency) as dispatcher,
        ):
            prefix = f"{self._system}.{group}"
            await GroupConsumer(connection, prefix, dispatcher, self._unacknowledged).run()

    async def _subscribe(self, types: Collection[str], handler: OnMessage) -> None:
        queue = f"{self._system}.broadcasts.{secrets.token_hex(8)}"

        async def take(delivered: DeliveredMessage) -> None:
            handler(to_message(delivered))

        async with RabbitMQConnection(self._url) as connection:
            async with translate_errors():
                channel = await connection.channel(publisher_confirms=False)
                await channel.exchange_declare(self._exchange, exchange_type="direct", durable=True)
                await channel.queue_declare(queue, exclusive=True, auto_delete=True, arguments=_SUBSCRIBER_QUEUE)
                for each in sorted(types):
                    for partition in range(PARTITIONS):
                        await channel.queue_bind(queue, self._exchange, f"{each}.{partition}")
                await channel.basic_consume(queue, take, no_ack=True)
            while True:
                await connection.watch([channel], _WATCH)

    async def _recorded_types(self, channel: Channel, record: str) -> dict[int, set[str]]:
        """Return the types that the group declared, by delivery tag of the records."""
        found: dict[int, set[str]] = {}
        while True:
            message = await channel.basic_get(record)
            if not isinstance(message.delivery, Basic.GetOk) or message.delivery.delivery_tag is None:
                return found
            found[message.delivery.delivery_tag] = set(orjson.loads(message.body))

    def _queue(self, group: str, partition: int) -> str:
        return f"{self._system}.{group}.{partition}"

    @asynccontextmanager
    async def _request(self, within: float = REQUEST_TIMEOUT) -> AsyncIterator[Channel]:
        """Open a channel for one request, because an error closes the channel."""
        connection, _ = await self._ready()
        try:
            async with translate_errors(within):
                channel = await connection.channel(publisher_confirms=True)
                yield channel
                await channel.close()
        except BrokerUnavailable:
            if not connection.is_usable:
                await self._drop(connection)
            raise

    async def _ready(self) -> tuple[RabbitMQConnection, Channel]:
        """Return the connection and the publishing channel. Reconnects when necessary."""
        async with self._connecting:
            connection, publisher = self._connection, self._publisher
            if connection is not None and publisher is not None and connection.is_usable and not publisher.is_closed:
                return connection, publisher
            await self._drop(connection)
            connection = await RabbitMQConnection(self._url).__aenter__()
            self._connection = connection
            async with translate_errors():
                publisher = await connection.channel(publisher_confirms=True)
                await publisher.exchange_declare(self._exchange, exchange_type="direct", durable=True)
            self._publisher = publisher
            return connection, publisher

    async def _drop(self, connection: RabbitMQConnection | None) -> None:
        if connection is not None and connection is self._connection:
            self._connection = self._publisher = None
        if connection is not None:
            await connection.aclose()
