"""Messages in Kafka: one topic of as many partitions as a group has queues."""

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
    Hear,
    Message,
    partition_of,
)
from portico.kit.messaging.brokers.batches import in_batches, to_be_sent, too_large
from portico.kit.messaging.brokers.kafka_connection import PATIENCE, arguments, closed, understood
from portico.kit.messaging.brokers.kafka_consuming import KafkaConsuming, loaded
from portico.kit.messaging.brokers.keyed_dispatcher import KeyedDispatcher, keep_consuming

_IN_FLIGHT = 1000  # messages that are sent together, and then seen stored
_BYTES_IN_FLIGHT = 4 << 20  # likewise, unless one is larger
_UNHEARD = 256  # messages that a listener is given at once
_HEAD = 64 << 10  # bytes that a message may have besides its body
_COPIES = 3  # of each topic, where there are as many servers
_TOPIC_EXISTS = 36  # Kafka's code: another process was first
_SESSION = 6000  # milliseconds until a consumer that was killed is replaced


class KafkaBroker:
    """The events of one system in Kafka.

    A topic `{system}.events` of eight partitions, and consumer groups `{system}.{group}`, so that one process at a time
    has what one key has to say. The types that each group wants lie in the compacted topic `{system}.groups`; what it
    does not want is passed over. Who listens reads the topic from its end, in no group. Topics that are there already are used as they are, so that they can be given replicas
    and a retention beforehand.

    Args:
        url: `kafka://` or `kafkas://`, several hosts with commas between.
        system: whose events they are.
        size_limit: bytes of a body, refused beyond it.
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
        async with self._consumer(f"{self._system}.{group}") as consumer, understood():
            consumer.assign(self._partitions)
            ends = await consumer.end_offsets(self._partitions)
            new = {each: ends[each] for each in self._partitions if await consumer.committed(each) is None}
            if new:
                await consumer.commit(new)
            await producer.send_and_wait(self._groups, orjson.dumps(sorted(types)), key=group.encode())

    async def publish(self, messages: Sequence[Message]) -> Mapping[str, str]:
        refused = too_large(messages, self._size_limit)
        for some in in_batches(to_be_sent(messages, refused), most=_IN_FLIGHT, most_bytes=_BYTES_IN_FLIGHT):
            await self._publish(some)
        return refused

    async def consume(self, group: str, deliver: Deliver, *, concurrency: int) -> None:
        await keep_consuming(group, partial(self._consume, group, lambda: KeyedDispatcher(group, deliver, concurrency)))

    async def listen(self, types: Collection[str], hear: Hear) -> None:
        await keep_consuming("listeners", partial(self._listen, types, hear))

    async def check(self) -> None:
        async with self._administration() as administration, understood():
            await administration.describe_cluster()

    async def waiting(self, group: str) -> int:
        """As the protocol says, with what the group does not want and has not passed yet."""
        await self._ready()
        async with self._consumer(f"{self._system}.{group}") as consumer, understood():
            consumer.assign(self._partitions)
            ends = await consumer.end_offsets(self._partitions)
            passed = {each: await consumer.committed(each) for each in self._partitions}
        return sum(ends[each] - (ends[each] if passed[each] is None else passed[each]) for each in self._partitions)

    async def aclose(self) -> None:
        if self._producer is not None:
            producer, self._producer = self._producer, None
            await closed(producer.stop())

    async def _publish(self, messages: Sequence[Message]) -> None:
        """Hand all to the producer, then see all stored.

        The producer tries again what fails, with all of its partition behind it, for half of the time that is waited here:
        then none of them is under way any more, and all can be published again.
        """
        producer = await self._ready()
        sent: list[asyncio.Future[Any]] = []
        async with understood():
            for each in messages:
                stored = await producer.send(
                    self._topic,
                    each.body,
                    key=each.key.encode(),
                    partition=partition_of(each.key),
                    headers=[("id", each.id.encode()), ("type", each.type.encode())],
                )
                stored.add_done_callback(_look_at)
                sent.append(stored)
        if sent:
            done, late = await asyncio.wait(sent, timeout=PATIENCE)
            failures = [error for each in done if (error := each.exception()) is not None]
            if failures or late:
                raise BrokerUnavailable(f"Kafka: {failures[0] if failures else 'no answer in time'}")

    async def _consume(self, group: str, lines: Any) -> None:
        await self._ready()
        wanted = await self._wanted(group)
        async with self._consumer(f"{self._system}.{group}", start=False) as consumer:
            await KafkaConsuming(consumer, self._topic, wanted, lines).run()

    async def _listen(self, types: Collection[str], hear: Hear) -> None:
        await self._ready()
        async with self._consumer(None, start_at="latest") as consumer, understood(None):
            consumer.assign(self._partitions)
            await consumer.seek_to_end(*self._partitions)
            while True:
                for records in (await consumer.getmany(timeout_ms=1000, max_records=_UNHEARD)).values():
                    for message in map(loaded, records):
                        if message.type in types:
                            hear(message)

    async def _wanted(self, group: str) -> frozenset[str]:
        """The types that the group declared last. Raises BrokerUnavailable where it has not declared any yet."""
        partition = TopicPartition(self._groups, 0)
        found: list[str] | None = None
        async with self._consumer(None) as consumer, understood():
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
        """The producer, which comes back by itself once it was there, and the topics with it."""
        async with self._connecting:
            if self._producer is None:
                async with self._administration() as administration, understood():
                    await self._make_topics(administration)
                producer = AIOKafkaProducer(
                    **self._arguments, acks="all", max_batch_size=1 << 20, max_request_size=self._size_limit + _HEAD
                )
                try:
                    async with understood():
                        await producer.start()
                except BaseException:
                    await closed(producer.stop())
                    raise
                self._producer = producer
            return self._producer

    async def _make_topics(self, administration: AIOKafkaAdminClient) -> None:
        limit = {"max.message.bytes": str(max(self._size_limit, 1 << 20) + _HEAD)}
        copies = min(_COPIES, len((await administration.describe_cluster())["brokers"]))
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
            max_poll_interval_ms=2**31 - 1,  # what is slow is slow, and no reason to give its partitions to others
            fetch_max_wait_ms=100,
        )
        async with AsyncExitStack() as stack:
            stack.push_async_callback(lambda: closed(consumer.stop()))
            if start:
                async with understood():
                    await consumer.start()
            yield consumer

    @asynccontextmanager
    async def _administration(self) -> AsyncIterator[AIOKafkaAdminClient]:
        administration = AIOKafkaAdminClient(**self._arguments)
        try:
            async with understood():
                await administration.start()
            yield administration
        finally:
            with suppress(Exception):
                await closed(administration.close())


def _look_at(stored: asyncio.Future[Any]) -> None:
    """Have a failure known that nobody waits for any more."""
    if not stored.cancelled():
        stored.exception()
