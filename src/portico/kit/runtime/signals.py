"""Signals that end a process: the first requests a stop, a second Ctrl-C ends it immediately."""

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
    """Return an event that SIGTERM and SIGINT set while the block runs, in the running loop.

    Args:
        at_once: called before a second SIGINT ends the process immediately. It must be quick.
    """
    stop = asyncio.Event()

    def request_stop() -> None:
        stop.set()

    def request_or_force_stop() -> None:
        if stop.is_set():
            if at_once is not None:
                at_once()
            os._exit(INTERRUPTED)
        stop.set()

    with _handle(signal.SIGTERM, request_stop), _handle(signal.SIGINT, request_or_force_stop):
        yield stop


@contextmanager
def _handle(number: signal.Signals, act: Callable[[], None]) -> Iterator[None]:
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

    previous = signal.signal(number, handle)  # on Windows the loop does not support signal handlers
    try:
        yield
    finally:
        signal.signal(number, previous)
