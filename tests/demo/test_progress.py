import asyncio

import pytest
from rich.console import Console

from portico.demo.progress import run_beside, run_concurrently
from portico.gateway_client import ExpectationFailed


class TestRunConcurrently:
    async def test_the_first_error_is_raised_itself_and_cancels_the_other_calls(self) -> None:
        cancelled: list[str] = []

        async def act(name: str) -> None:
            if name == "fails":
                raise ExpectationFailed("a scan was refused")
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(name)
                raise

        with pytest.raises(ExpectationFailed, match="a scan was refused"):
            await run_concurrently(Console(quiet=True), "checked in", ["waits", "fails"], act, limit=2)

        assert cancelled == ["waits"]


class TestRunBeside:
    async def test_its_error_ends_the_block_and_is_raised_itself(self) -> None:
        async def fail() -> None:
            raise ExpectationFailed("the map could not be read")

        with pytest.raises(ExpectationFailed, match="the map could not be read"):
            async with run_beside(fail()):
                await asyncio.Event().wait()

    async def test_an_error_of_the_block_is_raised_itself(self) -> None:
        with pytest.raises(ExpectationFailed, match="a scan was refused"):
            async with run_beside(asyncio.sleep(3600)):
                raise ExpectationFailed("a scan was refused")

    async def test_it_is_cancelled_at_the_end_of_the_block(self) -> None:
        ended = asyncio.Event()

        async def run() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        async with run_beside(run()):
            await asyncio.sleep(0)

        assert ended.is_set()
