"""Helpers for cancellation in asyncio."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any


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
