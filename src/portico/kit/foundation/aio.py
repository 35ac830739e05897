import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any


def is_cancelled() -> bool:
    """Whether the task that asks was cancelled, also where the word of it was lost on the way.

    Before Python 3.12 `asyncio.wait_for`, by which drivers connect, may swallow a cancellation; the task keeps count of
    it all the same. A group of tasks cancels each of them but once: one that goes round for ever asks here.
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
    """Await `act`; whoever is cancelled meanwhile, however often, is so after all of it has ended."""
    task = asyncio.ensure_future(act)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # seen: whoever is cancelled has no use for it, and the loop must not complain
        raise
