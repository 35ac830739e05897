import asyncio

import pytest

from portico.kit.foundation.aio import Begun


async def after(event: asyncio.Event, steps: list[str]) -> str:
    steps.append("begun")
    try:
        await event.wait()
        await asyncio.sleep(0)
    finally:
        steps.append("ended")
    return "result"


class TestBegun:
    async def test_what_need_not_wait_is_done_at_once(self) -> None:
        event = asyncio.Event()
        event.set()

        async def at_once() -> str:
            await event.wait()
            return "result"

        begun = Begun(at_once())

        assert (begun.is_done, begun.result, await begun) == (True, "result", "result")

    async def test_what_waits_is_awaited_later(self) -> None:
        event, steps = asyncio.Event(), list[str]()
        begun = Begun(after(event, steps))
        before = (begun.is_done, list(steps))
        asyncio.get_running_loop().call_soon(event.set)

        assert before == (False, ["begun"])
        assert await begun == "result"

    async def test_a_cancellation_arrives_where_it_waits(self) -> None:
        steps = list[str]()
        begun = Begun(after(asyncio.Event(), steps))

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await begun

        assert steps == ["begun", "ended"]

    async def test_closing_ends_it(self) -> None:
        steps = list[str]()
        begun = Begun(after(asyncio.Event(), steps))

        begun.close()

        assert steps == ["begun", "ended"]

    async def test_an_exception_is_raised_where_it_is_begun_or_awaited(self) -> None:
        async def fail(*, later: bool) -> None:
            if later:
                await asyncio.sleep(0)
            raise ValueError

        with pytest.raises(ValueError):  # noqa: PT011  the exception has no message
            Begun(fail(later=False))
        begun = Begun(fail(later=True))
        with pytest.raises(ValueError):  # noqa: PT011  the exception has no message
            await begun
