import asyncio


def is_cancelled() -> bool:
    """Whether the task that asks was cancelled, also where the word of it was lost on the way.

    Before Python 3.12 `asyncio.wait_for`, by which drivers connect, may swallow a cancellation; the task keeps count of
    it all the same. A group of tasks cancels each of them but once: one that goes round for ever asks here.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
