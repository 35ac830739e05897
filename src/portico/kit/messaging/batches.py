"""Process many rows in batches, one transaction per batch, so that locks are short."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

from portico.kit.data.engine import Database
from portico.kit.data.retry import run_transaction
from portico.kit.data.unit_of_work import UnitOfWork, commit_on_exit
from portico.kit.foundation.clock import Clock

T = TypeVar("T")

BATCH = 500
"""Rows per transaction."""

Batch = Callable[[int, UnitOfWork], Awaitable[Sequence[int]]]
"""Function that processes at most BATCH rows with a number above the given one, and returns their numbers."""


async def in_batches(database: Database, clock: Clock, batch: Batch) -> int:
    """Call `batch` until it returns no rows. Return the number of rows processed."""
    total, after = 0, 0
    while numbers := await run_in_transaction(database, clock, partial(batch, after)):
        total, after = total + len(numbers), numbers[-1]
    return total


async def run_in_transaction(database: Database, clock: Clock, act: Callable[[UnitOfWork], Awaitable[T]]) -> T:
    """Run `act` in its own transaction and return its result. Retry it after a conflict."""
    return await run_transaction(lambda: commit_on_exit(UnitOfWork(database, clock)), act)
