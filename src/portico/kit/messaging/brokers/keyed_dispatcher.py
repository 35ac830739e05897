"""Ordered dispatch of messages per key."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Coroutine
from time import monotonic
from typing import Any, Self

from portico.kit.foundation.backoff import Backoff
from portico.kit.messaging.brokers.base import BrokerUnavailable, Deliver, Message, partition_of
from portico.kit.telemetry.logs import LastFailure, get_logger

logger = get_logger(__name__)

_DELIVERY_BACKOFF = Backoff(base=0.05, limit=5.0)
_BROKER_BACKOFF = Backoff(base=0.1, limit=5.0)
_GRACE = 1.0  # seconds that deliveries of withdrawn partitions may take
_STABLE = 10.0  # seconds after which a connection counts as stable and resets the backoff

Acknowledge = Callable[[], Awaitable[None]]
"""Function that acknowledges a delivered message."""


class KeyedDispatcher:
    """Delivers messages in order and one at a time per key, and messages with different keys concurrently.

    The broker limits how many messages are queued. Leaving `async with` cancels deliveries in progress: their messages
    are not acknowledged and are delivered again.

    Args:
        group: name of the consumer group, for the log.
        deliver: handles a message.
        concurrency: maximum number of concurrent deliveries.
    """

    def __init__(self, group: str, deliver: Deliver, concurrency: int) -> None:
        self._group = group
        self._deliver = deliver
        self._slots = asyncio.Semaphore(concurrency)
        self._queues: dict[str, deque[tuple[Message, Acknowledge]]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ended = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ended = True
        await _cancel(list(self._tasks.values()))

    def add(self, message: Message, acknowledge: Acknowledge) -> None:
        """Deliver the message, after earlier messages with the same key."""
        if self._ended:
            return  # not acknowledged, so it is delivered again
        queue = self._queues.get(message.key)
        if queue is not None:
            queue.append((message, acknowledge))
            return
        self._queues[message.key] = deque([(message, acknowledge)])
        self._tasks[message.key] = asyncio.create_task(self._drain(message.key))

    async def withdraw(self, partitions: Collection[int]) -> None:
        """Discard the waiting messages of partitions, and wait until their deliveries have ended.

        A slow delivery is cancelled. Another process delivers the messages that were not acknowledged. Do not add
        messages of these partitions meanwhile.
        """
        tasks = []
        for key, queue in self._queues.items():
            if partition_of(key) in partitions:
                while len(queue) > 1:
                    queue.pop()
                tasks.append(self._tasks[key])
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=_GRACE)
            await _cancel(late)

    async def _drain(self, key: str) -> None:
        queue = self._queues[key]
        try:
            while queue:
                message, acknowledge = queue[0]
                await self.deliver_until_handled(message)
                await acknowledge()
                queue.popleft()
        finally:
            del self._queues[key], self._tasks[key]

    async def deliver_until_handled(self, message: Message) -> None:
        """Deliver one message and retry until it succeeds. Other messages can use the slot between attempts."""
        attempt = 0
        while True:
            async with self._slots:
                try:
                    return await self._deliver(message)
                except Exception as error:
                    if not attempt:
                        logger.exception("message_not_acknowledged", group=self._group, message_id=message.id)
                    else:
                        logger.warning(
                            "message_not_acknowledged",
                            group=self._group,
                            message_id=message.id,
                            error=type(error).__name__,
                        )
            attempt += 1
            await asyncio.sleep(_DELIVERY_BACKOFF.delay(attempt))


async def _cancel(tasks: Collection[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


async def consume_until_cancelled(group: str, once: Callable[[], Awaitable[None]]) -> None:
    """Call `once`, which consumes until the connection is lost, repeatedly until cancelled.

    Unexpected errors are logged and retried too, because a stopped consumer is worse than a failing one. The delay
    between attempts grows while the broker is unavailable.
    """
    failures = 0
    failure = LastFailure()
    while True:
        began = monotonic()
        try:
            await once()
        except Exception as error:
            if monotonic() - began > _STABLE:
                failures = 0
                failure.clear()
            is_new = failure.is_new(error)
            if not isinstance(error, BrokerUnavailable):
                if is_new:
                    logger.exception("consuming_failed", group=group)
                else:
                    logger.warning("consuming_failed", group=group, error=repr(error))
            elif not failures:
                logger.warning("broker_unavailable", group=group, error=str(error))
        failures += 1
        await asyncio.sleep(_BROKER_BACKOFF.delay(failures))


async def run_until_first_ends(*works: Coroutine[Any, Any, Any]) -> None:
    """Run all coroutines until the first ends, then cancel the others. Raise the exception of the first, if any."""
    tasks = {asyncio.create_task(work) for work in works}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
