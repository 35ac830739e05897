import asyncio

import pytest
from sqlalchemy.exc import DBAPIError, OperationalError

from portico.kit.data.retry import RetryPolicy, is_conflict_or_disconnect, retry_transaction
from portico.kit.foundation.backoff import Backoff

AT_ONCE = Backoff(base=0.0, limit=0.0)


class Deadlock(Exception):
    sqlstate = "40P01"


def conflict() -> DBAPIError:
    return OperationalError("UPDATE", {}, Deadlock())


class Transaction:
    """Raises the given errors in turn, then returns how often it ran."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.runs = 0

    async def __call__(self) -> int:
        self.runs += 1
        if self.errors:
            raise self.errors.pop(0)
        return self.runs


class TestRetryTransaction:
    async def test_runs_a_transaction_that_lost_a_conflict_again(self) -> None:
        assert await retry_transaction(Transaction(conflict(), conflict())) == 3

    async def test_raises_the_last_error_after_the_last_try(self) -> None:
        transaction = Transaction(*(conflict() for _ in range(9)))

        with pytest.raises(OperationalError):
            await retry_transaction(transaction, RetryPolicy(tries=3, backoff=AT_ONCE))

        assert transaction.runs == 3

    async def test_raises_other_errors_at_once(self) -> None:
        transaction = Transaction(ConnectionResetError())

        with pytest.raises(ConnectionResetError):
            await retry_transaction(transaction)

        assert transaction.runs == 1

    async def test_a_policy_may_retry_lost_connections(self) -> None:
        policy = RetryPolicy(is_retryable=is_conflict_or_disconnect, backoff=AT_ONCE)

        assert await retry_transaction(Transaction(ConnectionResetError()), policy) == 2

    async def test_starts_no_attempt_after_the_time_limit(self) -> None:
        policy = RetryPolicy(tries=None, within=0.05, backoff=Backoff(base=0.02, limit=0.02))
        transaction = Transaction(*(conflict() for _ in range(1000)))

        with pytest.raises(OperationalError):
            await retry_transaction(transaction, policy)

        assert 1 < transaction.runs < 20

    async def test_reports_each_error_before_its_pause(self) -> None:
        reported: list[Exception] = []

        await retry_transaction(Transaction(conflict(), conflict()), on_retry=reported.append)

        assert [type(error) for error in reported] == [OperationalError, OperationalError]

    async def test_a_cancelled_transaction_is_not_retried(self) -> None:
        runs = 0

        async def hang() -> None:
            nonlocal runs
            runs += 1
            await asyncio.Event().wait()

        task = asyncio.create_task(retry_transaction(hang))
        await asyncio.sleep(0)
        task.cancel()

        with pytest.raises(asyncio.CancelledError):
            await task
        assert runs == 1
