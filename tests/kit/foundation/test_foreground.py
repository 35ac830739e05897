import asyncio

from portico.kit.foundation.foreground import Foreground

LIMIT = 60.0


class TestWaitUntilQuiet:
    async def test_returns_at_once_if_no_request_was_served(self) -> None:
        waiting = asyncio.create_task(Foreground().wait_until_quiet(LIMIT))

        await asyncio.sleep(0)

        assert waiting.done()

    async def test_waits_for_all_requests(self) -> None:
        foreground = Foreground()
        foreground.begin()
        foreground.begin()
        waiting = asyncio.create_task(foreground.wait_until_quiet(LIMIT))
        await asyncio.sleep(0)
        foreground.end()
        await asyncio.sleep(0)
        early = waiting.done()

        foreground.end()
        await asyncio.wait_for(waiting, LIMIT)

        assert not early

    async def test_waits_again_if_another_request_follows(self) -> None:
        foreground = Foreground()
        foreground.begin()
        waiting = asyncio.create_task(foreground.wait_until_quiet(LIMIT))
        await asyncio.sleep(0)
        foreground.end()
        foreground.begin()
        for _ in range(10):
            await asyncio.sleep(0)

        early = waiting.done()
        foreground.end()
        await asyncio.wait_for(waiting, LIMIT)

        assert not early

    async def test_does_not_wait_longer_than_it_may(self) -> None:
        foreground = Foreground()
        foreground.begin()

        await asyncio.wait_for(foreground.wait_until_quiet(0.01), LIMIT)

        assert foreground.in_flight == 1
