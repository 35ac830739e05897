"""How the process itself is doing."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

import psutil

_INTERVAL = 0.5  # seconds


class LoopLag:
    """How late the event loop is: how much longer a short sleep takes than it was asked to.

    Args:
        sleep: as asyncio's.
        now: seconds that only go forward.
    """

    def __init__(
        self,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.seconds = 0.0
        """the worst of the last few moments, fading"""
        self._sleep = sleep
        self._now = now

    async def run(self) -> None:
        """Measure until cancelled. One task a process is enough; the host runs it."""
        while True:
            before = self._now()
            await self._sleep(_INTERVAL)
            late = max(0.0, self._now() - before - _INTERVAL)
            self.seconds = max(late, self.seconds * 0.8)


def process_vitals() -> dict[str, Any]:
    """Memory (bytes), open files and threads of this process. Reads the file system: call it off the event loop."""
    process = psutil.Process(os.getpid())
    with process.oneshot():
        return {
            "memory_bytes": process.memory_info().rss,
            "open_files": process.num_fds() if os.name == "posix" else len(process.open_files()),
            "threads": process.num_threads(),
        }
