"""Retry policy of transactions. Requests, consumers, sagas and jobs use it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, TypeVar

from portico.kit.data.failures import is_disconnected, is_retryable_conflict, is_unavailable
from portico.kit.foundation.backoff import Backoff

T = TypeVar("T")
W = TypeVar("W")

CONFLICT_BACKOFF: Final = Backoff(base=0.02, limit=0.1, jitter=1.0)
"""Delay after a conflict: each transaction waits a few random milliseconds."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Which failed transactions are retried, how often and with which delays.

    tries: maximum number of attempts; None for no limit.
    within: maximum time (seconds) from the first attempt to the start of the last; None for no limit.
    is_retryable: whether the error allows another attempt.
    backoff: delays between attempts.
    """

    tries: int | None = 5
    within: float | None = None
    is_retryable: Callable[[Exception], bool] = is_retryable_conflict
    backoff: Backoff = CONFLICT_BACKOFF


CONFLICTS: Final = RetryPolicy()
"""Retry deadlocks and serialization failures: the database has rolled the transaction back."""


def is_transient(error: BaseException) -> bool:
    """Return whether the transaction may succeed later: it lost a conflict, or the database is unavailable."""
    return is_retryable_conflict(error) or is_unavailable(error)


def is_conflict_or_disconnect(error: BaseException) -> bool:
    """Return whether an immediate retry may succeed: the transaction was rolled back or its connection was dead."""
    return is_retryable_conflict(error) or is_disconnected(error)


async def retry_transaction(
    act: Callable[[], Awaitable[T]],
    policy: RetryPolicy = CONFLICTS,
    *,
    on_retry: Callable[[Exception], object] | None = None,
) -> T:
    """Run `act`, which opens and commits its own transaction, until it succeeds or the policy ends the retries.

    Args:
        act: runs the whole transaction. It is called again after a retryable error.
        policy: which errors are retried, how often and with which delays.
        on_retry: called with the error before each delay.

    Raises:
        Exception: what the last attempt raised.
    """
    clock = asyncio.get_running_loop().time
    until = None if policy.within is None else clock() + policy.within
    failures = 0
    while True:
        try:
            return await act()
        except Exception as error:
            failures += 1
            is_last = failures == policy.tries or (until is not None and clock() >= until)
            if is_last or not policy.is_retryable(error):
                raise
            if on_retry is not None:
                on_retry(error)
        await asyncio.sleep(policy.backoff.delay(failures))


async def run_transaction(
    begin: Callable[[], AbstractAsyncContextManager[W]],
    act: Callable[[W], Awaitable[T]],
    policy: RetryPolicy = CONFLICTS,
) -> T:
    """Run `act` in a transaction and return its result, with the retries of `policy`.

    Args:
        begin: opens a unit of work that is committed at the end of its block.
        act: runs in the transaction. It is called again, with a new unit of work, after a retryable error.
        policy: which errors are retried, how often and with which delays.

    Raises:
        Exception: what the last attempt raised.
    """

    async def once() -> T:
        async with begin() as work:
            return await act(work)

    return await retry_transaction(once, policy)
