import asyncio
import os
import signal

import pytest
from tests.support.signals import default_action

from portico.kit.runtime.signals import Interrupted, run_until_interrupted


class TestRunUntilInterrupted:
    async def test_returns_the_result(self) -> None:
        async def work() -> int:
            return 7

        assert await run_until_interrupted(work()) == 7

    async def test_raises_the_error_of_the_work(self) -> None:
        async def work() -> None:
            raise ValueError("broken")

        with pytest.raises(ValueError, match="broken"):
            await run_until_interrupted(work())

    @pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
    @pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
    async def test_a_signal_ends_it_after_its_cleanup(self, name: str) -> None:
        number = signal.Signals[name]
        is_cleaned_up = False

        async def work() -> None:
            nonlocal is_cleaned_up
            try:
                os.kill(os.getpid(), number)
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                is_cleaned_up = True

        with default_action(number), pytest.raises(Interrupted):
            await run_until_interrupted(work())

        assert is_cleaned_up
