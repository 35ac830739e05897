"""Helpers for cancellation and waiting in asyncio."""

import asyncio
from collections.abc import Awaitable, Coroutine, Generator
from contextlib import suppress
from functools import partial
from typing import Any, Generic, TypeVar

T = TypeVar("T")


def is_cancelled() -> bool:
    """Return whether the current task was cancelled, even if the CancelledError was swallowed.

    Before Python 3.12, `asyncio.wait_for`, which drivers use to connect, can swallow a cancellation, but the task still
    counts it. A task group cancels each task only once, so an endless loop must check this.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def wait_for_event(event: asyncio.Event, seconds: float) -> bool:
    """Wait until `event` is set, but at most `seconds`. Return whether it is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


async def run_to_completion(act: Coroutine[Any, Any, None]) -> None:
    """Await `act` completely. A cancellation of the caller takes effect only after `act` has ended."""
    task = asyncio.ensure_future(act)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # mark as retrieved: the caller is cancelled, and asyncio must not log it
        raise


class Begun(Generic[T]):
    """An awaitable that has run until it first has to wait, or to its end.

    It tells whether waiting is necessary, so that timers and limits of waiting cost nothing otherwise. Await it in the
    task that began it, before anything else is awaited, or close it.

    Attributes:
        is_done: whether it has ended without waiting. `result` is its result then.
    """

    __slots__ = ("_first", "_rest", "is_done", "result")

    def __init__(self, awaitable: Awaitable[T]) -> None:
        self._rest = awaitable.__await__()
        self.is_done = False
        try:
            self._first = next(self._rest)
        except StopIteration as end:
            self.is_done = True
            self.result: T = end.value

    def __await__(self) -> Generator[Any, Any, T]:
        if self.is_done:
            return self.result
        yielded = self._first
        while True:
            try:
                sent = yield yielded
            except BaseException as error:  # noqa: BLE001  whatever is raised here belongs to what is awaited
                step = partial(self._rest.throw, error)
            else:
                step = partial(self._rest.send, sent)
            try:
                yielded = step()
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]  # a generator's value has no type

    def close(self) -> None:
        """End it where it waits."""
        self._rest.close()
