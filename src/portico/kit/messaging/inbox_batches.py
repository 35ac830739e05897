"""Batch the events of a consumer that are delivered at the same time into one transaction.

No timer delays an event. An event that arrives alone is handled at once.
"""

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from portico.kit.data.failures import is_unavailable
from portico.kit.messaging.envelope import Envelope
from portico.kit.messaging.event import Event

_MAX_SIZE = 64  # events in one transaction
_MAX_TRANSACTIONS = 16  # concurrent transactions of one consumer, if its events are handled alone


class DeliveryFailed(Exception):
    """The handler of one event failed, so its whole batch is rolled back.

    Attributes:
        index: position of the event in the batch.
    """

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.index = index


@dataclass(eq=False, slots=True)
class Delivery:
    """An event delivered to one consumer."""

    envelope: Envelope
    event: Event
    handled: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    transaction: "_Transaction | None" = None


@dataclass(eq=False, slots=True)
class _Transaction:
    members: Sequence[Delivery]
    task: asyncio.Task[None]
    is_counted: bool


Handle = Callable[[Sequence[Delivery]], Awaitable[Sequence[Delivery]]]
"""Function that handles events in one transaction. It returns the events to handle alone, never a single event.

It raises DeliveryFailed if the handler of one of several events fails. For a single event it raises the handler's
error.
"""


class InboxBatches:
    """Handles the events delivered to one consumer.

    A failing event does not affect the others: the batch is split until that event is alone. The caller delivers the
    events of an aggregate one at a time.

    Args:
        handle: handles events in one transaction.
        writers: maximum number of concurrent transactions while none of them is slow.
        slow: seconds after which a transaction no longer delays the start of others.
    """

    def __init__(self, handle: Handle, *, writers: int, slow: float) -> None:
        self._handle = handle
        self._writers = writers
        self._slow = slow
        self._queue: deque[Delivery] = deque()
        self._parts: deque[Sequence[Delivery]] = deque()
        self._running = 0
        self._writing = 0
        self._is_scheduled = False

    async def handle(self, delivery: Delivery) -> None:
        """Handle an event, together with others that are delivered at the same time. Raises what its handler raises.

        If the caller is cancelled, the event is withdrawn, or the caller waits for the transaction that contains it. A
        transaction without callers is cancelled.
        """
        self._queue.append(delivery)
        self._schedule()
        try:
            await delivery.handled
        except asyncio.CancelledError:
            transaction = delivery.transaction
            if transaction is not None:
                if all(each.handled.done() for each in transaction.members):
                    transaction.task.cancel()
                await asyncio.wait({transaction.task})
            raise

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._start)

    def _start(self) -> None:
        """Start transactions for the parts of split batches, and for waiting events."""
        self._is_scheduled = False
        while self._running < _MAX_TRANSACTIONS:
            if self._parts:
                members = [each for each in self._parts.popleft() if not each.handled.done()]
                if members:
                    self._begin(members, is_part=True)
            elif self._writing < self._writers and (members := self._take()):
                self._begin(members, is_part=False)
            else:
                return

    def _take(self) -> list[Delivery]:
        members: list[Delivery] = []
        while self._queue and len(members) < _MAX_SIZE:
            delivery = self._queue.popleft()
            if not delivery.handled.done():
                members.append(delivery)
        return members

    def _begin(self, members: Sequence[Delivery], *, is_part: bool) -> None:
        # The context is empty, so that a transaction inherits nothing from the delivery that started it.
        task = asyncio.create_task(self._run(members), context=contextvars.Context())
        transaction = _Transaction(members, task, is_counted=not is_part)
        for each in members:
            each.transaction = transaction
        self._running += 1
        self._writing += not is_part
        slow = asyncio.get_running_loop().call_later(self._slow, self._stop_counting, transaction)

        def ended(_: object) -> None:
            slow.cancel()
            self._running -= 1
            self._stop_counting(transaction)

        task.add_done_callback(ended)

    def _stop_counting(self, transaction: _Transaction) -> None:
        """Let other transactions start, because this one has ended or is slow."""
        self._writing -= transaction.is_counted
        transaction.is_counted = False
        self._schedule()

    async def _run(self, members: Sequence[Delivery]) -> None:
        try:
            alone = await self._handle(members)
        except asyncio.CancelledError:
            for each in members:
                each.handled.cancel()
            raise
        except Exception as error:  # noqa: BLE001  passed to the failing event, or to all
            self._parts.extend(self._parts_after(error, members))
        else:
            self._parts.extend([each] for each in alone)
            for each in members:
                if each not in alone and not each.handled.done():
                    each.handled.set_result(None)

    def _parts_after(self, error: Exception, members: Sequence[Delivery]) -> Sequence[Sequence[Delivery]]:
        """Pass the error to the events that caused it, and return the parts of the batch to handle again."""
        if isinstance(error, DeliveryFailed):
            index = error.index
            return [part for part in (members[:index], [members[index]], members[index + 1 :]) if part]
        is_timeout = isinstance(error, TimeoutError)
        if len(members) == 1 or (is_unavailable(error) and not is_timeout):
            for each in members:
                if not each.handled.done():
                    each.handled.set_exception(error)
            return []
        if is_timeout:
            return [[each] for each in members]
        middle = len(members) // 2
        return [members[:middle], members[middle:]]
