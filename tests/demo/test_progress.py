import asyncio

import pytest
from rich.console import Console

from portico.demo.progress import run_concurrently
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
