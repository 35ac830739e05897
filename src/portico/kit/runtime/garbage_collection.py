"""Garbage collection of a process that serves."""

import gc
from typing import Final

_THRESHOLD: Final = 10_000  # new objects between collections; with Python's default of 700 an order costs 7 % more


def tune_garbage_collection() -> None:
    """Exclude the objects created so far from garbage collection, and collect less often.

    A full collection of them would block the event loop for a sixth of a second. Call it once, when the services run.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_THRESHOLD)
