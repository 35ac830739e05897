"""Many rows, a bounded batch a transaction, so that nobody else waits long."""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

from portico.kit.data.engine import Database
from portico.kit.data.failures import is_retryable_conflict
from portico.kit.data.unit_of_work import UnitOfWork, committed
from portico.kit.foundation.clock import Clock

T = TypeVar("T")

BATCH = 500
"""rows"""
_TRIES = 5  # of a transaction that lost a race

Batch = Callable[[int, UnitOfWork], Awaitable[Sequence[int]]]
"""Does what is to be done with the next rows behind a number, at most BATCH of them, and gives their numbers."""


async def in_batches(database: Database, clock: Clock, batch: Batch) -> int:
    """Do `batch` until nothing is left; how many rows it was done with."""
    total, after = 0, 0
    while numbers := await run_in_transaction(database, clock, partial(batch, after)):
        total, after = total + len(numbers), numbers[-1]
    return total


async def run_in_transaction(database: Database, clock: Clock, act: Callable[[UnitOfWork], Awaitable[T]]) -> T:
    """Do `act` in a transaction of its own, and again where that loses a race."""
    for attempt in itertools.count(1):
        try:
            async with committed(UnitOfWork(database, clock)) as work:
                return await act(work)
        except Exception as error:
            if attempt == _TRIES or not is_retryable_conflict(error):
                raise
        await asyncio.sleep(random.random() * 0.02 * attempt)  # noqa: S311  # so that two who collided do not again
    raise AssertionError("the last try returns or raises")
