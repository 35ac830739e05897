from hypothesis import given
from hypothesis import strategies as st

from portico.gateway.rates import Rate, Verdict, judge

RATE = Rate("default", 10, 60)


class TestFields:
    def test_they_speak_the_drafts_language(self) -> None:
        assert Verdict(RATE, True, 7, 12.3).fields() == [
            (b"ratelimit", b'"default";r=7;t=13'),
            (b"ratelimit-policy", b'"default";q=10;w=60'),
        ]


class TestJudge:
    def test_the_first_is_allowed_and_leaves_the_rest(self) -> None:
        assert judge(RATE, 600.0, 0, 0) == Verdict(RATE, True, 9, 60.0)

    def test_the_one_too_many_is_not(self) -> None:
        verdict = judge(RATE, 630.0, 0, 10)

        assert not verdict.allowed
        assert verdict.remaining == 0

    def test_the_last_window_counts_by_its_share_in_sight(self) -> None:
        assert judge(RATE, 660.0 + 30, 10, 4).allowed
        assert not judge(RATE, 660.0 + 30, 10, 5).allowed

    @given(st.floats(0, 600), st.integers(0, 10), st.integers(0, 12))
    def test_waiting_as_told_is_long_enough_and_not_longer(self, now: float, previous: int, current: int) -> None:
        verdict = judge(RATE, now, previous, current)
        if verdict.allowed:
            assert verdict.retry_after == 0
            return
        later, sooner = now + verdict.retry_after + 1e-6, now + verdict.retry_after - 1e-3

        assert _judge_at(now, later, previous, current).allowed
        assert verdict.retry_after < 1e-3 or not _judge_at(now, sooner, previous, current).allowed


def _judge_at(now: float, later: float, previous: int, current: int) -> Verdict:
    """What is found `later`, if nothing else comes."""
    start_compensation = int(later // RATE.seconds) - int(now // RATE.seconds)
    if start_compensation == 0:
        return judge(RATE, later, previous, current)
    return judge(RATE, later, current if start_compensation == 1 else 0, 0)
