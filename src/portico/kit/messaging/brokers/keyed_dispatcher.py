"""Messages on their way from a broker to whoever takes them: a line for each key."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from time import monotonic
from typing import Any, Self

from portico.kit.foundation.backoff import Backoff
from portico.kit.messaging.brokers.base import BrokerUnavailable, Deliver, Message
from portico.kit.telemetry.logs import get_logger

logger = get_logger(__name__)

_DELIVERY_BACKOFF = Backoff(base=0.05, limit=5.0)
_BROKER_BACKOFF = Backoff(base=0.1, limit=5.0)
_STABLE = 10.0  # seconds after which a connection that is lost counts as one that was good

Taken = Callable[[], Awaitable[None]]
"""What is to be done once a message was taken: acknowledge it."""


class KeyedDispatcher:
    """Delivers messages in order and one at a time per key, those of different keys side by side.

    How many are in a line is for the broker to bound. Used in `async with`, at whose end what is under way is cancelled:
    it was not acknowledged, and comes again.

    Args:
        group: whose messages they are, for the log.
        deliver: takes them.
        concurrency: how many at once.
    """

    def __init__(self, group: str, deliver: Deliver, concurrency: int) -> None:
        self._group = group
        self._deliver = deliver
        self._room = asyncio.Semaphore(concurrency)
        self._lines: dict[str, deque[tuple[Message, Taken]]] = {}
        self._serving: set[asyncio.Task[None]] = set()
        self._ended = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ended = True
        for task in list(self._serving):
            task.cancel()
        if self._serving:
            await asyncio.wait(self._serving)

    def add(self, message: Message, taken: Taken) -> None:
        """Behind what is under way about the same key, else at once."""
        if self._ended:
            return  # it comes again, as all that was not acknowledged does
        line = self._lines.get(message.key)
        if line is not None:
            line.append((message, taken))
            return
        self._lines[message.key] = deque([(message, taken)])
        task = asyncio.create_task(self._serve(message.key))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, key: str) -> None:
        line = self._lines[key]
        while line:
            message, taken = line[0]
            await self.until_taken(message)
            await taken()
            line.popleft()
        del self._lines[key]

    async def until_taken(self, message: Message) -> None:
        """Deliver one message, as often as it takes; between the tries others have its place."""
        attempt = 0
        while True:
            async with self._room:
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


async def keep_consuming(group: str, once: Callable[[], Awaitable[None]]) -> None:
    """Call `once`, which consumes until the broker is lost, again and again until cancelled.

    Also after an error that nobody foresaw: a group that has stopped is worse than one that stumbles and says so. The
    pauses between grow while the broker stays away.
    """
    failures = 0
    while True:
        began = monotonic()
        try:
            await once()
        except Exception as error:
            if monotonic() - began > _STABLE:
                failures = 0
            if not isinstance(error, BrokerUnavailable):
                logger.exception("consuming_failed", group=group)
            elif not failures:
                logger.warning("broker_unavailable", group=group, error=str(error))
        failures += 1
        await asyncio.sleep(_BROKER_BACKOFF.delay(failures))


async def first_to_end(*works: Coroutine[Any, Any, Any]) -> None:
    """Run all until the first ends, however it does, and cancel the others. Raises what the first raised."""
    tasks = {asyncio.create_task(work) for work in works}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
