"""Statistics of the process."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

import psutil

_INTERVAL = 1.0  # seconds


class LoopLag:
    """Delay of the event loop: how much longer a short sleep takes than requested.

    Args:
        sleep: like asyncio's.
        now: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.seconds = 0.0
        """The longest recent delay (seconds), decaying."""
        self._sleep = sleep
        self._now = now

    async def run(self) -> None:
        """Measure until cancelled. The host runs one per process."""
        while True:
            before = self._now()
            await self._sleep(_INTERVAL)
            late = max(0.0, self._now() - before - _INTERVAL)
            self.seconds = max(late, self.seconds * 0.64)


def process_stats() -> dict[str, Any]:
    """Return memory (bytes), open files and threads of this process. It reads files, so call it in a thread."""
    process = psutil.Process(os.getpid())
    with process.oneshot():
        return {
            "memory_bytes": process.memory_info().rss,
            "open_files": process.num_fds() if os.name == "posix" else len(process.open_files()),
            "threads": process.num_threads(),
        }
