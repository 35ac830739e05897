"""Signals that end a process: the first requests a stop, a second Ctrl-C ends it immediately."""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")

INTERRUPTED = 130
"""Exit status of a process that was ended by Ctrl-C."""
USER_ERROR = 2
"""Exit status of a process that ended because of an error that the user can fix."""


class Interrupted(Exception):
    """A signal stopped a command before its end."""


@contextmanager
def stop_on_signals(at_once: Callable[[], None] | None = None) -> Iterator[asyncio.Event]:
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


async def run_until_interrupted(work: Coroutine[Any, Any, T]) -> T:
    """Return the result of `work`. SIGTERM, Ctrl-C and a closed terminal cancel it, so that it can clean up.

    Raises:
        Interrupted: a signal was received before the end.
    """
    with stop_on_signals() as stop, _handle_closed_terminal(stop.set):
        task = asyncio.create_task(work)
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
            raise Interrupted
        return task.result()


@contextmanager
def _handle_closed_terminal(act: Callable[[], None]) -> Iterator[None]:
    """Call `act` on SIGHUP, unless the process ignores it (`nohup`)."""
    hang_up = getattr(signal, "SIGHUP", None)
    if hang_up is None or signal.getsignal(hang_up) == signal.SIG_IGN:
        yield
        return
    with _handle(hang_up, act):
        yield


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
