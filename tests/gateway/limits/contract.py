"""Contract of all limiters."""

import asyncio

from portico.gateway.limits import Limiter, Rate
from portico.testing.clock import ManualClock

FIVE = Rate("five", 5, 60)


class LimiterContract:
    """Run by a subclass for each limiter, with the fixtures `clock` and `limiter`."""

    async def test_requests_up_to_the_rate_are_allowed(self, limiter: Limiter) -> None:
        verdicts = [await limiter.take(FIVE, "ann") for _ in range(7)]

        assert [verdict.allowed for verdict in verdicts] == [True] * 5 + [False] * 2
        assert [verdict.remaining for verdict in verdicts] == [4, 3, 2, 1, 0, 0, 0]

    async def test_callers_are_counted_separately(self, limiter: Limiter) -> None:
        for _ in range(6):
            await limiter.take(FIVE, "ann")

        assert (await limiter.take(FIVE, "bob")).allowed

    async def test_a_request_after_retry_after_is_allowed(self, limiter: Limiter, clock: ManualClock) -> None:
        for _ in range(5):
            await limiter.take(FIVE, "ann")
        refused = await limiter.take(FIVE, "ann")

        clock.advance(refused.retry_after - 0.01)
        assert not (await limiter.take(FIVE, "ann")).allowed
        clock.advance(0.02)
        assert (await limiter.take(FIVE, "ann")).allowed

    async def test_refused_requests_are_not_counted(self, limiter: Limiter, clock: ManualClock) -> None:
        for _ in range(50):
            await limiter.take(FIVE, "ann")
        clock.advance(120)

        verdicts = [await limiter.take(FIVE, "ann") for _ in range(6)]

        assert [verdict.allowed for verdict in verdicts] == [True] * 5 + [False]

    async def test_a_clock_that_is_set_back_blocks_no_caller(self, limiter: Limiter, clock: ManualClock) -> None:
        for _ in range(5):
            await limiter.take(FIVE, "ann")

        clock.set_back(3600)
        clock.advance(120)

        assert [(await limiter.take(FIVE, "ann")).allowed for _ in range(6)] == [True] * 5 + [False]

    async def test_the_previous_window_still_counts(self, limiter: Limiter, clock: ManualClock) -> None:
        clock.advance(59)
        for _ in range(5):
            assert (await limiter.take(FIVE, "ann")).allowed
        clock.advance(2)

        assert not (await limiter.take(FIVE, "ann")).allowed

    async def test_concurrent_requests_do_not_exceed_the_rate(self, limiter: Limiter) -> None:
        verdicts = await asyncio.gather(*(limiter.take(FIVE, "ann") for _ in range(40)))

        assert sum(verdict.allowed for verdict in verdicts) == 5

    async def test_rates_are_counted_separately(self, limiter: Limiter) -> None:
        for _ in range(5):
            await limiter.take(FIVE, "five:ann")

        assert (await limiter.take(Rate("other", 5, 60), "other:ann")).allowed
