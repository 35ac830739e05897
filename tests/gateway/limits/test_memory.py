import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.limits.contract import FIVE, LimiterContract

from portico.gateway.limits import MemoryLimiter
from portico.testing.clock import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


class TestMemoryLimiter(LimiterContract):
    @pytest.fixture
    def limiter(self, clock: ManualClock) -> MemoryLimiter:
        return MemoryLimiter(clock)

    async def test_a_bucket_counts_with_the_other_requests_of_its_key(
        self, limiter: MemoryLimiter, clock: ManualClock
    ) -> None:
        bucket = limiter.bucket(FIVE, "ann")
        taken = [(await limiter.take(FIVE, "ann")).remaining, bucket.take().remaining]
        clock.advance(120)

        assert [*taken, bucket.take().remaining, limiter.bucket(FIVE, "ann").take().remaining] == [4, 3, 4, 3]

    @given(st.lists(st.floats(0, 40), max_size=30))
    def test_fields_of_a_bucket_are_those_of_its_verdict(self, pauses: list[float]) -> None:
        clock = ManualClock()
        one, other = (MemoryLimiter(clock).bucket(FIVE, "ann") for _ in range(2))
        for pause in pauses:
            clock.advance(pause)
            verdict, fields = one.take(), other.take_fields()

            lines = b"".join(b"%b: %b\r\n" % each for each in verdict.fields())
            assert fields == (lines if verdict.allowed else None)

    async def test_the_number_of_keys_is_bounded(self, clock: ManualClock) -> None:
        limiter = MemoryLimiter(clock, max_keys=100)
        for number in range(1000):
            await limiter.take(FIVE, f"caller {number}")

        (windows,) = limiter._windows.values()
        assert len(windows.current) == 100
        assert "caller 999" in windows.current

    async def test_counts_older_than_two_windows_are_dropped(self, limiter: MemoryLimiter, clock: ManualClock) -> None:
        await limiter.take(FIVE, "ann")
        clock.advance(60)
        await limiter.take(FIVE, "bob")
        clock.advance(60)
        await limiter.take(FIVE, "cid")

        (windows,) = limiter._windows.values()
        assert (set(windows.previous), set(windows.current)) == ({"bob"}, {"cid"})
