import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from portico.kit.calls.lookup import BatchedLookup


class Library:
    """Finds the titles of books, except those with a negative number. It can be closed."""

    def __init__(self) -> None:
        self.requests: list[list[int]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.failure: Exception | None = None

    async def fetch(self, numbers: Sequence[int]) -> Mapping[int, str]:
        self.requests.append(list(numbers))
        await self.open.wait()
        if self.failure is not None:
            raise self.failure
        return {number: f"book {number}" for number in numbers if number >= 0}


async def find_all(lookup: BatchedLookup[int, str], *wanted: list[int]) -> list[Any]:
    return await asyncio.gather(*(lookup.find(each) for each in wanted), return_exceptions=True)


class TestLookUps:
    async def test_of_the_same_moment_are_one_request(self) -> None:
        library = Library()
        lookup = BatchedLookup[int, str](library.fetch, max_keys=100)

        found = await find_all(lookup, [1, 2], [2, 3], [3])

        assert found == [{1: "book 1", 2: "book 2"}, {2: "book 2", 3: "book 3"}, {3: "book 3"}]
        assert library.requests == [[1, 2, 3]]

    async def test_without_others_are_sent_at_once(self) -> None:
        library = Library()
        lookup = BatchedLookup[int, str](library.fetch, max_keys=100)

        assert [await lookup.find([1, 1]), await lookup.find([2])] == [{1: "book 1"}, {2: "book 2"}]
        assert library.requests == [[1], [2]]

    async def test_that_come_while_requests_are_under_way_share_the_next(self) -> None:
        library = Library()
        library.open.clear()
        lookup = BatchedLookup[int, str](library.fetch, max_keys=100, concurrent=2)
        finding = []
        for number in range(6):
            finding.append(asyncio.create_task(lookup.find([number])))
            for _ in range(5):
                await asyncio.sleep(0)

        library.open.set()
        await asyncio.gather(*finding)

        assert library.requests == [[0], [1], [2, 3, 4, 5]]

    async def test_leave_out_unknown_keys(self) -> None:
        library = Library()
        lookup = BatchedLookup[int, str](library.fetch, max_keys=100)

        assert await find_all(lookup, [1, -1], [-1]) == [{1: "book 1"}, {}]

    async def test_have_a_limited_number_of_keys(self) -> None:
        library = Library()
        lookup = BatchedLookup[int, str](library.fetch, max_keys=3)

        found = await find_all(lookup, [1, 2], [2, 3], [4], [5, 6, 7, 8])

        assert [sorted(each) for each in found] == [[1, 2], [2, 3], [4], [5, 6, 7, 8]]
        assert library.requests == [[1, 2, 3], [4], [5, 6, 7, 8]]

    async def test_that_fail_fail_for_those_who_share_the_request(self) -> None:
        library = Library()
        library.failure = LookupError("closed")
        lookup = BatchedLookup[int, str](library.fetch, max_keys=100)

        assert await find_all(lookup, [1], [2]) == [library.failure] * 2
        library.failure = None
        assert await lookup.find([1]) == {1: "book 1"}

    async def test_continue_when_a_caller_is_cancelled(self) -> None:
        library = Library()
        library.open.clear()
        lookup = BatchedLookup[int, str](library.fetch, max_keys=100)
        first, second = (asyncio.create_task(lookup.find([number])) for number in (1, 2))
        for _ in range(5):
            await asyncio.sleep(0)

        first.cancel()
        library.open.set()

        assert await second == {2: "book 2"}
        assert library.requests == [[1, 2]]

    async def test_end_when_it_is_closed(self) -> None:
        library = Library()
        library.open.clear()
        lookup = BatchedLookup[int, str](library.fetch, max_keys=1, concurrent=1)
        under_way, waiting = (asyncio.create_task(lookup.find([number])) for number in (1, 2))
        for _ in range(5):
            await asyncio.sleep(0)

        await lookup.close()

        for each in (under_way, waiting):
            with pytest.raises(asyncio.CancelledError):
                await each
