"""Broker on Apache Kafka: one topic with a fixed number of partitions, and a consumer group per service."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import for_code

from portico.kit.messaging.brokers.base import (
    MAX_MESSAGE,
    PARTITIONS,
    BrokerUnavailable,
    Deliver,
    Message,
    OnMessage,
    partition_of,
)
from portico.kit.messaging.brokers.batches import in_batches, messages_to_send, too_large
from portico.kit.messaging.brokers.kafka_connection import REQUEST_TIMEOUT, arguments, close_client, translate_errors
from portico.kit.messaging.brokers.kafka_consumer import PartitionConsumer, to_message
from portico.kit.messaging.brokers.keyed_dispatcher import KeyedDispatcher, consume_until_cancelled

_IN_FLIGHT = 1000  # messages sent before waiting for confirmation
_BYTES_IN_FLIGHT = 4 << 20  # maximum size of their bodies, unless one message is larger
_MAX_BUFFERED = 256  # maximum number of messages passed to a subscriber in one poll
_HEADER_SIZE = 64 << 10  # bytes reserved for the headers of a message
_REPLICAS = 3  # replicas of each topic, if there are as many brokers
_TOPIC_EXISTS = 36  # Kafka error code: another process created the topic first
_SESSION = 6000  # milliseconds after which a killed consumer is replaced


class KafkaBroker:
    """Events of one system in Kafka.

    The topic `{system}.events` has eight partitions. Each group has the consumer group `{system}.{group}`, so one
    process at a time handles the messages of one key. The compacted topic `{system}.groups` stores the types that each
    group declared. A consumer skips other types. Subscribers read the topic from its end without a group. Existing
    topics are not changed, so you can create them beforehand with the replicas and retention you need.

    Args:
        url: `kafka://` or `kafkas://`, several hosts separated by commas.
        system: name of the system, the prefix of the topics.
        size_limit: maximum size (bytes) of a message body.
    """

    def __init__(self, url: str, system: str, *, size_limit: int = MAX_MESSAGE) -> None:
        self._arguments = arguments(url)
        self._system = system
        self._topic, self._groups = f"{system}.events", f"{system}.groups"
        self._partitions = [TopicPartition(self._topic, number) for number in range(PARTITIONS)]
        self._size_limit = size_limit
        self._producer: AIOKafkaProducer | None = None
        self._connecting = asyncio.Lock()

    async def declare(self, group: str, types: Collection[str]) -> None:
        producer = await self._ready()
        async with self._consumer(f"{self._system}.{group}") as consumer, translate_errors():
            consumer.assign(self._partitions)
            ends = await consumer.end_offsets(self._partitions)
            new = {each: ends[each] for each in self._partitions if await consumer.committed(each) is None}
            if new:
                await consumer.commit(new)
            await producer.send_and_wait(self._groups, orjson.dumps(sorted(types)), key=group.encode())

    async def publish(self, messages: Sequence[Message]) -> Mapping[str, str]:
        refused = too_large(messages, self._size_limit)
        for some in in_batches(messages_to_send(messages, refused), max_count=_IN_FLIGHT, max_bytes=_BYTES_IN_FLIGHT):
            await self._publish(some)
        return refused

    async def consume(self, group: str, deliver: Deliver, *, concurrency: int) -> None:
        await consume_until_cancelled(
            group, partial(self._consume, group, lambda: KeyedDispatcher(group, deliver, concurrency))
        )

    async def subscribe(self, types: Collection[str], handler: OnMessage) -> None:
        await consume_until_cancelled("broadcasts", partial(self._subscribe, types, handler))

    async def check(self) -> None:
        async with self._administration() as administration, translate_errors():
            await administration.describe_cluster()

    async def backlog(self, group: str) -> int:
        """Return the number of unacknowledged messages, including messages of other types that will be skipped."""
        await self._ready()
        async with self._consumer(f"{self._system}.{group}") as consumer, translate_errors():
            consumer.assign(self._partitions)
            ends = await consumer.end_offsets(self._partitions)
            passed = {each: await consumer.committed(each) for each in self._partitions}
        return sum(ends[each] - (ends[each] if passed[each] is None else passed[each]) for each in self._partitions)

    async def aclose(self) -> None:
        if self._producer is not None:
            producer, self._producer = self._producer, None
            await close_client(producer.stop())

    async def _publish(self, messages: Sequence[Message]) -> None:
        """Send all messages, then wait until all are stored.

        The producer retries for half of the time that this waits, and keeps the order within a partition. After that,
        no message is in flight and all can be published again.
        """
        producer = await self._ready()
        sent: list[asyncio.Future[Any]] = []
        async with translate_errors():
            for each in messages:
                stored = await producer.send(
                    self._topic,
                    each.body,
                    key=each.key.encode(),
                    partition=partition_of(each.key),
                    headers=[("id", each.id.encode()), ("type", each.type.encode())],
                )
                stored.add_done_callback(_retrieve_exception)
                sent.append(stored)
        if sent:
            done, late = await asyncio.wait(sent, timeout=REQUEST_TIMEOUT)
            failures = [error for each in done if (error := each.exception()) is not None]
            if failures or late:
                raise BrokerUnavailable(f"Kafka: {failures[0] if failures else 'no answer in time'}")

    async def _consume(self, group: str, dispatcher: Any) -> None:
        await self._ready()
        types = await self._declared_types(group)
        async with self._consumer(f"{self._system}.{group}", start=False) as consumer:
            await PartitionConsumer(consumer, self._topic, types, dispatcher).run()

    async def _subscribe(self, types: Collection[str], handler: OnMessage) -> None:
        await self._ready()
        async with self._consumer(None, start_at="latest") as consumer, translate_errors(None):
            consumer.assign(self._partitions)
            await consumer.seek_to_end(*self._partitions)
            while True:
                for records in (await consumer.getmany(timeout_ms=1000, max_records=_MAX_BUFFERED)).values():
                    for message in map(to_message, records):
                        if message.type in types:
                            handler(message)

    async def _declared_types(self, group: str) -> frozenset[str]:
        """Return the types that the group declared last.

        Raises:
            BrokerUnavailable: the group is not declared yet.
        """
        partition = TopicPartition(self._groups, 0)
        found: list[str] | None = None
        async with self._consumer(None) as consumer, translate_errors():
            consumer.assign([partition])
            await consumer.seek_to_beginning(partition)
            end = (await consumer.end_offsets([partition]))[partition]
            while await consumer.position(partition) < end:
                for records in (await consumer.getmany(timeout_ms=1000)).values():
                    for each in records:
                        found = orjson.loads(each.value) if each.key == group.encode() else found
        if found is None:
            raise BrokerUnavailable(f"the group {group} is not declared")
        return frozenset(found)

    async def _ready(self) -> AIOKafkaProducer:
        """Return the producer, which reconnects by itself. The first call creates the topics and connects."""
        async with self._connecting:
            if self._producer is None:
                async with self._administration() as administration, translate_errors():
                    await self._make_topics(administration)
                producer = AIOKafkaProducer(
                    **self._arguments,
                    acks="all",
                    max_batch_size=1 << 20,
                    max_request_size=self._size_limit + _HEADER_SIZE,
                )
                try:
                    async with translate_errors():
                        await producer.start()
                except BaseException:
                    await close_client(producer.stop())
                    raise
                self._producer = producer
            return self._producer

    async def _make_topics(self, administration: AIOKafkaAdminClient) -> None:
        limit = {"max.message.bytes": str(max(self._size_limit, 1 << 20) + _HEADER_SIZE)}
        copies = min(_REPLICAS, len((await administration.describe_cluster())["brokers"]))
        events = NewTopic(self._topic, PARTITIONS, copies, topic_configs=limit)
        groups = NewTopic(self._groups, 1, copies, topic_configs={"cleanup.policy": "compact"})
        answer = await administration.create_topics([events, groups])
        for _, code, *_ in answer.topic_errors:
            if code not in {0, _TOPIC_EXISTS}:
                raise for_code(code)

    @asynccontextmanager
    async def _consumer(
        self, group: str | None, *, start: bool = True, start_at: str = "earliest"
    ) -> AsyncIterator[AIOKafkaConsumer]:
        consumer = AIOKafkaConsumer(
            **self._arguments,
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset=start_at,
            session_timeout_ms=_SESSION,
            heartbeat_interval_ms=_SESSION // 3,
            max_poll_interval_ms=2**31 - 1,  # a slow consumer keeps its partitions
            fetch_max_wait_ms=100,
        )
        async with AsyncExitStack() as stack:
            stack.push_async_callback(lambda: close_client(consumer.stop()))
            if start:
                async with translate_errors():
                    await consumer.start()
            yield consumer

    @asynccontextmanager
    async def _administration(self) -> AsyncIterator[AIOKafkaAdminClient]:
        administration = AIOKafkaAdminClient(**self._arguments)
        try:
            async with translate_errors():
                await administration.start()
            yield administration
        finally:
            with suppress(Exception):
                await close_client(administration.close())


def _retrieve_exception(stored: asyncio.Future[Any]) -> None:
    """Retrieve the exception so that asyncio does not log it as never retrieved."""
    if not stored.cancelled():
        stored.exception()
