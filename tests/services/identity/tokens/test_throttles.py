from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from portico.services.identity.tokens.domain import LOCKOUT_DURATION, LOCKOUT_WINDOW, failures_in_window
from portico.services.identity.tokens.models import SignInThrottle
from portico.testing.clock import START


def fresh() -> SignInThrottle:
    return SignInThrottle(key="k", failures=[], locked_until=None, changed_at=START)


class TestSignInThrottle:
    def test_locks_at_the_limit(self) -> None:
        throttle = fresh()

        assert [throttle.record_failure(START, limit=10) for _ in range(10)] == [False] * 9 + [True]
        assert throttle.remaining_lock(START) == LOCKOUT_DURATION

    def test_lock_expires(self) -> None:
        throttle = fresh()
        throttle.record_failure(START, limit=1)

        assert throttle.remaining_lock(START + LOCKOUT_DURATION) is None

    def test_counts_from_zero_after_a_lock(self) -> None:
        throttle = fresh()
        for _ in range(10):
            throttle.record_failure(START, limit=10)

        assert not throttle.record_failure(START + LOCKOUT_DURATION, limit=10)

    def test_ignores_failures_while_locked(self) -> None:
        throttle = fresh()
        throttle.record_failure(START, limit=1)

        throttle.record_failure(START + timedelta(minutes=10), limit=1)

        assert throttle.remaining_lock(START + LOCKOUT_DURATION) is None

    @given(st.lists(st.integers(0, 3600), max_size=60).map(sorted), st.integers(2, 12))
    def test_locks_exactly_when_the_window_contains_the_limit(self, moments: list[int], most: int) -> None:
        throttle = fresh()
        rate_limit_key: list[int] = []
        locked_until = -1
        for moment in moments:
            now = START + timedelta(seconds=moment)
            locked = throttle.record_failure(now, limit=most)
            if moment < locked_until:
                assert not locked
                continue
            rate_limit_key = [each for each in rate_limit_key if each > moment - LOCKOUT_WINDOW.total_seconds()] + [
                moment
            ]
            assert locked == (len(rate_limit_key) >= most)
            if locked:
                rate_limit_key, locked_until = [], moment + int(LOCKOUT_DURATION.total_seconds())
            assert len(throttle.failures) < most


def test_a_lock_and_failures_do_not_wait_for_a_clock_that_was_set_back() -> None:
    throttle, earlier = fresh(), START - timedelta(hours=1)
    throttle.record_failure(START, limit=1)

    assert throttle.remaining_lock(START) == LOCKOUT_DURATION
    assert throttle.remaining_lock(earlier) is None
    assert failures_in_window([START.timestamp()], earlier) == []
