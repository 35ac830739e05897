"""One process's part of a group's partitions in Kafka."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition

from portico.kit.messaging.brokers.base import BrokerUnavailable, Message
from portico.kit.messaging.brokers.kafka_connection import understood
from portico.kit.messaging.brokers.keyed_dispatcher import KeyedDispatcher

_PREFETCH = 128  # messages in memory that are not acknowledged
_PREFETCH_BYTES = 8 << 20  # and of their bodies; those that were fetched with the last one may go beyond it
_POLL_MS = 200
_JOIN = 30.0  # seconds to become a member of the group


class KafkaConsuming(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Delivers what the group's coordinator gives this process, until cancelled or the broker is lost.

    Kafka knows one offset a partition, below which all is handled: it is moved as far as the messages without a gap.

    Args:
        consumer: not started yet.
        topic: where the messages are.
        wanted: the types to deliver; others are passed over.
        lines: makes the lines for what is given; ended when any of it is taken away.
    """

    def __init__(
        self, consumer: AIOKafkaConsumer, topic: str, wanted: Collection[str], lines: Callable[[], KeyedDispatcher]
    ) -> None:
        self._consumer = consumer
        self._topic = topic
        self._wanted = wanted
        self._make_lines = lines
        self._lines: KeyedDispatcher | None = None
        self._open: dict[TopicPartition, OrderedDict[int, bool]] = {}
        self._ends: dict[TopicPartition, int] = {}
        self._committed: dict[TopicPartition, int] = {}
        self._count = self._bytes = 0
        self._changed = asyncio.Event()

    async def run(self) -> None:
        self._consumer.subscribe([self._topic], listener=self)
        try:
            async with understood(_JOIN):
                await self._consumer.start()
            async with understood(None):
                while True:
                    await self._step()
        finally:
            await self._end()

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:  # noqa: ARG002  # aiokafka's signature
        await self._end()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:  # noqa: ARG002  # likewise
        self._lines = self._make_lines()

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
                    self._line_up(partition, record)
        await self._commit()

    def _line_up(self, partition: TopicPartition, record: ConsumerRecord) -> None:
        if self._lines is None:
            return  # taken away meanwhile
        self._ends[partition] = record.offset + 1
        message = loaded(record)
        if message.type not in self._wanted:
            return
        lined = self._open.setdefault(partition, OrderedDict())
        lined[record.offset] = True
        self._count += 1
        self._bytes += len(message.body)

        async def taken() -> None:
            if lined.pop(record.offset, False):
                self._count -= 1
                self._bytes -= len(message.body)
                self._changed.set()

        self._lines.add(message, taken)

    async def _commit(self) -> None:
        offsets = {partition: next(iter(self._open.get(partition) or ()), end) for partition, end in self._ends.items()}
        new = {partition: offset for partition, offset in offsets.items() if self._committed.get(partition) != offset}
        if new:
            await self._consumer.commit(new)
            self._committed |= new

    async def _end(self) -> None:
        """Give up what is under way, and say how far it went."""
        lines, self._lines = self._lines, None
        if lines is None:
            return
        async with lines:
            """Nothing more goes into them."""
        with suppress(BrokerUnavailable):  # what is not said to be handled comes again
            async with understood(1.0):
                await self._commit()
        self._open, self._ends, self._committed = {}, {}, {}
        self._count = self._bytes = 0


def loaded(record: Any) -> Message:
    """The message of a record; anybody may have written it, with headers and a key that are no text."""
    headers = {name: _text(value) for name, value in record.headers}
    return Message(headers.get("id", ""), headers.get("type", ""), _text(record.key), record.value or b"")


def _text(value: bytes | None) -> str:
    return (value or b"").decode(errors="replace")
