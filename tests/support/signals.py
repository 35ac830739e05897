"""Signals that a test sends, also if the test run itself ignores them, as under `nohup`."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def default_action(number: signal.Signals) -> Iterator[None]:
    """Within the block a signal has its default action, in this process and in those that it starts."""
    inherited = signal.signal(number, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(number, inherited)
