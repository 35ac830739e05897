"""What every limiter does, wherever it counts."""

import asyncio

from portico.gateway.limits import Limiter, Rate
from portico.testing.clock import HeldClock

FIVE = Rate("five", 5, 60)


class LimiterContract:
    """Run for each limiter by a subclass with the fixtures `clock` and `limiter`."""

    async def test_as_many_as_the_rate_says_and_no_more(self, limiter: Limiter) -> None:
        verdicts = [await limiter.take(FIVE, "ann") for _ in range(7)]

        assert [verdict.allowed for verdict in verdicts] == [True] * 5 + [False] * 2
        assert [verdict.remaining for verdict in verdicts] == [4, 3, 2, 1, 0, 0, 0]

    async def test_one_caller_does_not_use_up_anothers(self, limiter: Limiter) -> None:
        for _ in range(6):
            await limiter.take(FIVE, "ann")

        assert (await limiter.take(FIVE, "bob")).allowed

    async def test_waiting_as_told_helps(self, limiter: Limiter, clock: HeldClock) -> None:
        for _ in range(5):
            await limiter.take(FIVE, "ann")
        refused = await limiter.take(FIVE, "ann")

        clock.advance(refused.retry_after - 0.01)
        assert not (await limiter.take(FIVE, "ann")).allowed
        clock.advance(0.02)
        assert (await limiter.take(FIVE, "ann")).allowed

    async def test_a_refused_request_costs_nothing(self, limiter: Limiter, clock: HeldClock) -> None:
        for _ in range(50):
            await limiter.take(FIVE, "ann")
        clock.advance(120)

        verdicts = [await limiter.take(FIVE, "ann") for _ in range(6)]

        assert [verdict.allowed for verdict in verdicts] == [True] * 5 + [False]

    async def test_a_new_window_does_not_forget_the_last_one(self, limiter: Limiter, clock: HeldClock) -> None:
        clock.advance(59)
        for _ in range(5):
            assert (await limiter.take(FIVE, "ann")).allowed
        clock.advance(2)

        assert not (await limiter.take(FIVE, "ann")).allowed

    async def test_many_at_once_get_no_more(self, limiter: Limiter) -> None:
        verdicts = await asyncio.gather(*(limiter.take(FIVE, "ann") for _ in range(40)))

        assert sum(verdict.allowed for verdict in verdicts) == 5

    async def test_two_rates_count_apart(self, limiter: Limiter) -> None:
        for _ in range(5):
            await limiter.take(FIVE, "five:ann")

        assert (await limiter.take(Rate("other", 5, 60), "other:ann")).allowed
