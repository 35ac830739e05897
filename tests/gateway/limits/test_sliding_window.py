from hypothesis import given
from hypothesis import strategies as st

from portico.gateway.limits import Rate, Verdict, check_rate

RATE = Rate("default", 10, 60)


class TestFields:
    def test_headers_follow_the_draft(self) -> None:
        assert Verdict(RATE, True, 7, 12.3).fields() == [
            (b"ratelimit", b'"default";r=7;t=13'),
            (b"ratelimit-policy", b'"default";q=10;w=60'),
        ]


class TestJudge:
    def test_the_first_request_is_allowed(self) -> None:
        assert check_rate(RATE, 600.0, 0, 0) == Verdict(RATE, True, 9, 60.0)

    def test_a_request_beyond_the_rate_is_refused(self) -> None:
        verdict = check_rate(RATE, 630.0, 0, 10)

        assert not verdict.allowed
        assert verdict.remaining == 0

    def test_the_previous_window_counts_by_its_overlap(self) -> None:
        assert check_rate(RATE, 660.0 + 30, 10, 4).allowed
        assert not check_rate(RATE, 660.0 + 30, 10, 5).allowed

    @given(st.floats(0, 600), st.integers(0, 10), st.integers(0, 12))
    def test_retry_after_is_sufficient_and_minimal(self, now: float, previous: int, current: int) -> None:
        verdict = check_rate(RATE, now, previous, current)
        if verdict.allowed:
            assert verdict.retry_after == 0
            return
        later, sooner = now + verdict.retry_after + 1e-6, now + verdict.retry_after - 1e-3

        assert _judge_at(now, later, previous, current).allowed
        assert verdict.retry_after < 1e-3 or not _judge_at(now, sooner, previous, current).allowed


def _judge_at(now: float, later: float, previous: int, current: int) -> Verdict:
    """What is found `later`, if nothing else comes."""
    windows = int(later // RATE.seconds) - int(now // RATE.seconds)
    if windows == 0:
        return check_rate(RATE, later, previous, current)
    return check_rate(RATE, later, current if windows == 1 else 0, 0)
