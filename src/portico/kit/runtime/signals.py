"""The signals that end a process: the first asks it to stop, a second Ctrl-C ends it at once."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130
"""Exit status of a process that Ctrl-C ended."""
USER_ERROR = 2
"""Exit status of a process that ended because of an error that the user can fix."""


@contextmanager
def stop_requested(at_once: Callable[[], None] | None = None) -> Iterator[asyncio.Event]:
    """An event that SIGTERM and SIGINT set while the block runs, in the running loop.

    Args:
        at_once: what is done, quickly, before a second SIGINT ends the process without more ado.
    """
    stop = asyncio.Event()

    def ask() -> None:
        stop.set()

    def insist() -> None:
        if stop.is_set():
            if at_once is not None:
                at_once()
            os._exit(INTERRUPTED)
        stop.set()

    with _on(signal.SIGTERM, ask), _on(signal.SIGINT, insist):
        yield stop


@contextmanager
def _on(number: signal.Signals, act: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    if os.name != "nt":
        loop.add_signal_handler(number, act)
        try:
            yield
        finally:
            loop.remove_signal_handler(number)
        return

    def handle(_number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(act)

    previous = signal.signal(number, handle)  # on Windows the loop has no handlers of its own
    try:
        yield
    finally:
        signal.signal(number, previous)
