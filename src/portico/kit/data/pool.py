"""Connection pool that is fair to requests and background work, and reserves connections for background work."""

import asyncio
from collections import deque
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, Final, Literal

from sqlalchemy.exc import TimeoutError as PoolTimeout

from portico.kit._compat.sqlalchemy import GatedPool

Workload = Literal["request", "background"]

current_workload: ContextVar[Workload] = ContextVar("current_workload", default="background")
"""Kind of work of the current task: a request, or background work (a saga, relay, consumer or job)."""

_RESERVED_SHARE: Final = 4  # a quarter of the connections


class ConnectionQueue:
    """Decides which task gets the next of `size` connections.

    A returned connection is handed to a waiting task at once, so that tasks that arrive later cannot take it. Requests
    and background work have separate FIFO queues and take turns. A quarter of the connections is reserved for
    background work. Otherwise polling readers would hold all connections, and the work that they wait for could not
    continue.

    Args:
        size: the number of connections.
    """

    def __init__(self, size: int) -> None:
        self._free = size
        self._free_for_requests = size if size == 1 else size - max(1, size // _RESERVED_SHARE)
        self._waiting: dict[Workload, deque[asyncio.Future[None]]] = {"request": deque(), "background": deque()}
        self._served_last: Workload = "request"

    def acquire_now(self, workload: Workload) -> bool:
        """Take a connection if one is free and no other task waits for it. Return whether one was taken."""
        if self._waiting[workload] or not self._has_free(workload):
            return False
        self._take(workload)
        return True

    async def acquire(self, workload: Workload) -> None:
        """Wait for a connection."""
        if self.acquire_now(workload):
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting[workload].append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                with suppress(ValueError):  # `release` may have skipped this task
                    self._waiting[workload].remove(turn)
            else:
                self.release(workload)  # the connection was handed over in the same moment
            raise

    def release(self, workload: Workload) -> None:
        """Return a connection, which goes to the next waiting task."""
        self._free += 1
        self._free_for_requests += workload == "request"
        while (following := self._next()) is not None:
            turn = self._waiting[following].popleft()
            if not turn.done():
                self._served_last = following
                self._take(following)
                turn.set_result(None)

    def _next(self) -> Workload | None:
        """Return the next waiting task; None if no waiting task may have a connection."""
        others: Workload = "background" if self._served_last == "request" else "request"
        for each in (others, self._served_last):
            if self._waiting[each] and self._has_free(each):
                return each
        return None

    def _has_free(self, workload: Workload) -> bool:
        return self._free > 0 and (workload == "background" or self._free_for_requests > 0)

    def _take(self, workload: Workload) -> None:
        self._free -= 1
        self._free_for_requests -= workload == "request"


class FairPool(GatedPool):
    """Connection pool that assigns its connections by a `ConnectionQueue`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._queue = ConnectionQueue(self.size())

    def admit_now(self) -> Workload | None:
        workload = current_workload.get()
        return workload if self._queue.acquire_now(workload) else None

    async def admit(self) -> Workload:
        workload = current_workload.get()
        try:
            async with asyncio.timeout(self.timeout()):
                await self._queue.acquire(workload)
        except TimeoutError:
            raise PoolTimeout(
                f"All {self.size()} connections of the pool were in use for {self.timeout():g} s.", code="3o7r"
            ) from None
        return workload

    def leave(self, token: Workload) -> None:
        self._queue.release(token)
