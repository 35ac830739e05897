"""Many rows, a bounded batch a transaction, so that nobody else waits long."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

from portico.kit.data.engine import Database
from portico.kit.data.retry import run_transaction
from portico.kit.data.unit_of_work import UnitOfWork, committed
from portico.kit.foundation.clock import Clock

T = TypeVar("T")

BATCH = 500
"""rows"""

Batch = Callable[[int, UnitOfWork], Awaitable[Sequence[int]]]
"""Does what is to be done with the next rows behind a number, at most BATCH of them, and gives their numbers."""


async def in_batches(database: Database, clock: Clock, batch: Batch) -> int:
    """Do `batch` until nothing is left; how many rows it was done with."""
    total, after = 0, 0
    while numbers := await run_in_transaction(database, clock, partial(batch, after)):
        total, after = total + len(numbers), numbers[-1]
    return total


async def run_in_transaction(database: Database, clock: Clock, act: Callable[[UnitOfWork], Awaitable[T]]) -> T:
    """Run `act` in a transaction of its own and return its result. Retries it after a conflict."""
    return await run_transaction(lambda: committed(UnitOfWork(database, clock)), act)
