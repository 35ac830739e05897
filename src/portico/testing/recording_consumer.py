"""A consumer and a subscriber that record the messages that they receive."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Self

from portico.kit.messaging.brokers.base import PARTITIONS, Broker, BrokerUnavailable, Message, partition_of

_PROBE = "probe"
_BETWEEN_PROBES = 0.05  # seconds
_UNTIL_CANCELLED_AGAIN = 1.0  # seconds

LIMIT = 40.0  # seconds; a killed consumer's lease must expire


class RecordingConsumer:
    """A consumer of a group that records its messages; used in `async with`.

    Args:
        broker: to consume from.
        group: the consumer group.
        concurrency: see `Broker.consume`.
        act: called with each message before it is recorded; an error rejects the message.
        beside: another consumer of the group, which records the messages of both.
    """

    def __init__(
        self,
        broker: Broker,
        group: str,
        *,
        concurrency: int = 16,
        act: Callable[[Message], Awaitable[None]] | None = None,
        beside: "RecordingConsumer | None" = None,
    ) -> None:
        self.taken: list[Message] = []
        self.tries: list[str] = []
        self.max_concurrent = 0
        self.max_concurrent_per_key = 0
        self._at_once: Counter[str] = Counter()
        self._act = act
        self._changed = asyncio.Condition()
        deliver = (beside or self).deliver
        self._consume = partial(broker.consume, group, deliver, concurrency=concurrency)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._consume())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        if self._task is not None:
            await end_consuming(self._task)

    @property
    def under_way(self) -> int:
        return self._at_once.total()

    async def deliver(self, message: Message) -> None:
        self.tries.append(message.id)
        self._at_once[message.key] += 1
        self.max_concurrent = max(self.max_concurrent, self.under_way)
        self.max_concurrent_per_key = max(self.max_concurrent_per_key, self._at_once[message.key])
        await self._tell()
        try:
            if self._act is not None:
                await self._act(message)
            self.taken.append(message)
        finally:
            self._at_once[message.key] -= 1
        await self._tell()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition on the recorded messages holds. Raises TimeoutError."""
        async with asyncio.timeout(LIMIT), self._changed:
            await self._changed.wait_for(condition)

    async def until_taken(self, ids: Iterable[str]) -> None:
        """Wait until it has taken all of these messages. Raises TimeoutError."""
        wanted = set(ids)
        await self.until(lambda: wanted <= {each.id for each in self.taken})

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()


class Listener:
    """A subscriber that records its messages; used in `async with`.

    Args:
        broker: to subscribe to.
        types: of events.
        through: the broker that publishes probes, which show that the subscription works.
    """

    def __init__(self, broker: Broker, types: Collection[str], *, through: Broker) -> None:
        self.heard: list[Message] = []
        self._types = types
        self._through = through
        self._probes = count()
        self._heard_probe = asyncio.Event()
        self._changed = asyncio.Event()
        self._listen = partial(broker.subscribe, types, self._hear)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._listen())
        await self.until_it_hears()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            await end_consuming(self._task)

    def _hear(self, message: Message) -> None:
        if message.key == _PROBE:
            self._heard_probe.set()
            return
        self.heard.append(message)
        self._changed.set()

    async def until_it_hears(self) -> None:
        """Wait until a published message would be received. Raises TimeoutError."""
        self._heard_probe.clear()
        async with asyncio.timeout(LIMIT):
            while not self._heard_probe.is_set():
                probe = Message(f"{_PROBE} {next(self._probes)}", max(self._types), _PROBE, b"")
                with suppress(BrokerUnavailable):
                    await self._through.publish([probe])
                with suppress(TimeoutError):
                    async with asyncio.timeout(_BETWEEN_PROBES):
                        await self._heard_probe.wait()

    async def until_heard(self, ids: Iterable[str]) -> None:
        """Wait until it has received all of these messages. Raises TimeoutError."""
        wanted = set(ids)
        async with asyncio.timeout(LIMIT):
            while not wanted <= {each.id for each in self.heard}:
                self._changed.clear()
                await self._changed.wait()


async def end_consuming(task: asyncio.Task[None]) -> None:
    """Cancel `task` repeatedly, as the host does: drivers, and `asyncio.wait_for` before Python 3.12, swallow cancellations."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=_UNTIL_CANCELLED_AGAIN)
    if not task.cancelled():
        task.result()


def messages(number_of: int, *, keys: int = 1, type_: str = "order.created", first: int = 0) -> list[Message]:
    """Return messages `m0`, `m1` and so on, with keys in turn."""
    return [
        Message(f"m{number}", type_, f"key {number % keys}", b'{"number": %d}' % number)
        for number in range(first, first + number_of)
    ]


def by_partition() -> list[str]:
    """Return a key for each partition."""
    found: dict[int, str] = {}
    number = 0
    while len(found) < PARTITIONS:
        found.setdefault(partition_of(f"key {number}"), f"key {number}")
        number += 1
    return [found[each] for each in range(PARTITIONS)]


def firsts_by_key(taken: Iterable[Message]) -> dict[str, list[str]]:
    """Return the ids of each key in the order of their first delivery, without repeats."""
    found: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for message in taken:
        found[message.key].setdefault(message.id)
    return {key: list(ids) for key, ids in found.items()}
