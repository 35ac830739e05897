"""Consumer of the Kafka partitions that are assigned to one process."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition

from portico.kit.messaging.brokers.base import BrokerUnavailable, Message
from portico.kit.messaging.brokers.kafka_connection import translate_errors
from portico.kit.messaging.brokers.keyed_dispatcher import KeyedDispatcher

_PREFETCH = 128  # maximum number of unacknowledged messages in memory
_PREFETCH_BYTES = 8 << 20  # maximum size of their bodies; the last fetch may exceed it
_POLL_MS = 200
_JOIN = 30.0  # seconds to become a member of the group


class PartitionConsumer(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Delivers messages of the assigned partitions until cancelled or until the broker is lost.

    Kafka stores one committed offset per partition: that of the first message that is not acknowledged yet.

    Args:
        consumer: not started yet.
        topic: topic to consume.
        types: types to deliver; others are skipped.
        new_dispatcher: creates the dispatcher for an assignment. The dispatcher ends when the assignment changes.
    """

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        topic: str,
        types: Collection[str],
        new_dispatcher: Callable[[], KeyedDispatcher],
    ) -> None:
        self._consumer = consumer
        self._topic = topic
        self._types = types
        self._new_dispatcher = new_dispatcher
        self._dispatcher: KeyedDispatcher | None = None
        self._open: dict[TopicPartition, OrderedDict[int, bool]] = {}
        self._positions: dict[TopicPartition, int] = {}
        self._committed: dict[TopicPartition, int] = {}
        self._count = self._bytes = 0
        self._changed = asyncio.Event()

    async def run(self) -> None:
        self._consumer.subscribe([self._topic], listener=self)
        try:
            async with translate_errors(_JOIN):
                await self._consumer.start()
            async with translate_errors(None):
                while True:
                    await self._step()
        finally:
            await self._end()

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:  # noqa: ARG002  # aiokafka's signature
        await self._end()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:  # noqa: ARG002  # aiokafka's signature
        self._dispatcher = self._new_dispatcher()

    async def _step(self) -> None:
        room = _PREFETCH - self._count
        if room <= 0 or self._bytes >= _PREFETCH_BYTES:
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(_POLL_MS / 1000):
                    await self._changed.wait()
        else:
            fetched = await self._consumer.getmany(timeout_ms=_POLL_MS, max_records=min(room, 32))
            for partition, records in fetched.items():
                for record in records:
                    self._enqueue(partition, record)
        await self._commit()

    def _enqueue(self, partition: TopicPartition, record: ConsumerRecord) -> None:
        if self._dispatcher is None:
            return  # the partition was revoked meanwhile
        self._positions[partition] = record.offset + 1
        message = to_message(record)
        if message.type not in self._types:
            return
        pending = self._open.setdefault(partition, OrderedDict())
        pending[record.offset] = True
        self._count += 1
        self._bytes += len(message.body)

        async def acknowledge() -> None:
            if pending.pop(record.offset, False):
                self._count -= 1
                self._bytes -= len(message.body)
                self._changed.set()

        self._dispatcher.add(message, acknowledge)

    async def _commit(self) -> None:
        offsets = {
            partition: next(iter(self._open.get(partition) or ()), end) for partition, end in self._positions.items()
        }
        new = {partition: offset for partition, offset in offsets.items() if self._committed.get(partition) != offset}
        if new:
            await self._consumer.commit(new)
            self._committed |= new

    async def _end(self) -> None:
        """Cancel deliveries in progress and commit the offsets of acknowledged messages."""
        dispatcher, self._dispatcher = self._dispatcher, None
        if dispatcher is None:
            return
        async with dispatcher:
            """Leaving the dispatcher cancels its deliveries."""
        with suppress(BrokerUnavailable):  # messages whose offset is not committed are delivered again
            async with translate_errors(1.0):
                await self._commit()
        self._open, self._positions, self._committed = {}, {}, {}
        self._count = self._bytes = 0


def to_message(record: Any) -> Message:
    """Return the message of a record. Headers and keys written by other programs may not be valid text."""
    headers = {name: _text(value) for name, value in record.headers}
    return Message(headers.get("id", ""), headers.get("type", ""), _text(record.key), record.value or b"")


def _text(value: bytes | None) -> str:
    return (value or b"").decode(errors="replace")
