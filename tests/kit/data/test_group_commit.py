import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import insert, select
from sqlalchemy.exc import OperationalError
from tests.examples.loans.models import Book

from portico.kit.data.group_commit import GroupCommit, Stopping, TooManyWaiting
from portico.kit.data.unit_of_work import UnitOfWork
from portico.kit.foundation.problems import Conflict, Problem
from portico.testing.running_service import RunningService

BOOKS: Any = Book.__table__

Shelving = GroupCommit[str, str]


async def shelve(work: UnitOfWork, titles: Sequence[str]) -> Sequence[str | Problem]:
    """Add a book for each title except "forbidden". Titles have at most 200 characters."""
    rows = [Book(title=title) for title in titles if title != "forbidden"]
    work.add_all(rows)
    await work.flush()
    return [Conflict() if title == "forbidden" else title.upper() for title in titles]


class Gate:
    """Lets batches through one at a time and records them."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.open = asyncio.Event()
        self._entered = asyncio.Event()

    async def __call__(self, work: UnitOfWork, titles: Sequence[str]) -> Sequence[str | Problem]:
        self.batches.append(list(titles))
        self._entered.set()
        await self.open.wait()
        return await shelve(work, titles)

    async def entered(self) -> None:
        """Wait until the first batch has reached the gate."""
        await asyncio.wait_for(self._entered.wait(), 60)


@asynccontextmanager
async def shelving(
    loans: RunningService,
    apply: Callable[[UnitOfWork, Sequence[str]], Awaitable[Sequence[str | Problem]]] = shelve,
    *,
    max_batch: int = 100,
    max_waiting: int = 1000,
) -> AsyncIterator[Shelving]:
    async with GroupCommit[str, str](
        loans.context.transaction, apply, max_batch=max_batch, max_waiting=max_waiting
    ) as group:
        yield group


async def submitted(group: Shelving, titles: Iterable[str]) -> list[asyncio.Task[str]]:
    """Submit requests and return the tasks that wait for their results."""
    tasks = [asyncio.create_task(group.submit(title)) for title in titles]
    await asyncio.sleep(0)
    return tasks


async def titles(loans: RunningService) -> list[str]:
    async with loans.context.reader() as reader:
        return sorted(await reader.all(select(Book.title)))


class TestResults:
    async def test_each_caller_gets_its_result_after_the_commit(self, loans: RunningService) -> None:
        async def one(number: int) -> str:
            answer = await group.submit(f"book {number}")
            assert f"book {number}" in await titles(loans)
            return answer

        async with shelving(loans) as group:
            answers = await asyncio.gather(*(one(number) for number in range(20)))

        assert answers == [f"BOOK {number}" for number in range(20)]

    async def test_a_problem_of_one_request_does_not_affect_others(self, loans: RunningService) -> None:
        async with shelving(loans) as group:
            answers = await asyncio.gather(*map(group.submit, ["a", "forbidden", "b"]), return_exceptions=True)

        assert (answers[0], type(answers[1]), answers[2]) == ("A", Conflict, "B")
        assert await titles(loans) == ["a", "b"]


class TestBatches:
    async def test_contain_the_requests_that_arrived_during_the_last_commit(
        self, embedded_loans: RunningService
    ) -> None:
        gate = Gate()
        async with shelving(embedded_loans, gate, max_batch=3) as group:
            tasks = await submitted(group, ["a"])
            await gate.entered()
            tasks += await submitted(group, "bcdef")
            gate.open.set()
            assert await asyncio.gather(*tasks) == list("ABCDEF")

        assert gate.batches == [["a"], ["b", "c", "d"], ["e", "f"]]

    @pytest.mark.parametrize("bad", [0, 4, 8])
    async def test_that_fail_are_split_until_the_failing_request_is_alone(
        self, bad: int, loans: RunningService
    ) -> None:
        async def apply(work: UnitOfWork, some: Sequence[str]) -> Sequence[str | Problem]:
            if "bad" in some:
                await work.execute(insert(BOOKS), {"title": None})
            return await shelve(work, some)

        names = [f"book {number}" for number in range(9)]
        names[bad] = "bad"
        async with shelving(loans, apply) as group:
            answers = await asyncio.gather(*map(group.submit, names), return_exceptions=True)

        assert [isinstance(answer, Exception) for answer in answers] == [name == "bad" for name in names]
        assert await titles(loans) == sorted(name for name in names if name != "bad")

    async def test_are_retried_after_a_conflict(self, loans: RunningService) -> None:
        tries = 0

        async def apply(work: UnitOfWork, some: Sequence[str]) -> Sequence[str | Problem]:
            nonlocal tries
            tries += 1
            answers = await shelve(work, some)
            if tries < 3:
                raise OperationalError("SELECT", {}, ConnectionError(), connection_invalidated=True)
            return answers

        async with shelving(loans, apply) as group:
            assert await asyncio.gather(group.submit("a"), group.submit("b")) == ["A", "B"]

        assert tries == 3
        assert await titles(loans) == ["a", "b"]

    async def test_fail_together_if_the_database_is_unavailable(self, embedded_loans: RunningService) -> None:
        tries = 0

        async def apply(work: UnitOfWork, some: Sequence[str]) -> Sequence[str | Problem]:
            nonlocal tries
            tries += 1
            raise OperationalError("SELECT", {}, ConnectionError(), connection_invalidated=True)

        async with shelving(embedded_loans, apply) as group:
            answers = await asyncio.gather(*map(group.submit, "abcdefgh"), return_exceptions=True)

        assert {type(answer) for answer in answers} == {OperationalError}
        assert tries == 5


class TestQueue:
    async def test_a_full_queue_rejects_with_retry_after(self, embedded_loans: RunningService) -> None:
        gate = Gate()
        async with shelving(embedded_loans, gate, max_waiting=2) as group:
            first = await submitted(group, ["a"])
            await gate.entered()
            waiting = await submitted(group, "bc")

            with pytest.raises(TooManyWaiting) as refused:
                await group.submit("d")

            gate.open.set()
            assert await asyncio.gather(*first, *waiting) == ["A", "B", "C"]
        assert (refused.value.status, refused.value.headers) == (503, {"retry-after": "1"})

    async def test_cancelled_requests_are_dropped(self, embedded_loans: RunningService) -> None:
        gate = Gate()
        async with shelving(embedded_loans, gate) as group:
            first = await submitted(group, ["a"])
            await gate.entered()
            left, stayed = await submitted(group, ["left", "stayed"])
            left.cancel()
            first[0].cancel()
            gate.open.set()

            assert await stayed == "STAYED"

        assert gate.batches == [["a"], ["stayed"]]
        assert await titles(embedded_loans) == ["a", "stayed"]

    async def test_is_executed_when_the_group_is_closed(self, loans: RunningService) -> None:
        async with shelving(loans, max_batch=2) as group:
            tasks = await submitted(group, "abcde")

        assert await asyncio.gather(*tasks) == list("ABCDE")
        assert await titles(loans) == list("abcde")
        with pytest.raises(Stopping):
            await group.submit("f")

    async def test_is_rejected_if_closing_takes_too_long(self, embedded_loans: RunningService) -> None:
        gate = Gate()
        group = GroupCommit[str, str](
            embedded_loans.context.transaction, gate, max_batch=1, max_waiting=9, close_timeout=0
        )
        async with group:
            tasks = await submitted(group, "ab")
            await gate.entered()

        answers = await asyncio.gather(*tasks, return_exceptions=True)

        assert [type(answer) for answer in answers] == [Stopping, Stopping]
        assert await titles(embedded_loans) == []
