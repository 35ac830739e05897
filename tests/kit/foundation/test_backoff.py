import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.kit.foundation.backoff import Backoff


class TestBackoff:
    def test_the_delay_doubles_up_to_the_limit(self) -> None:
        backoff = Backoff(base=0.1, limit=1.0, jitter=0.0)

        assert [backoff.delay(failures) for failures in range(1, 7)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]

    @pytest.mark.parametrize(("jitter", "shortest"), [(0.0, 8.0), (0.5, 4.0), (1.0, 0.0)])
    def test_jitter_is_the_random_share_of_the_delay(self, jitter: float, shortest: float) -> None:
        assert Backoff(base=8.0, limit=60.0, jitter=jitter, draw=lambda: 0.0).delay(1) == shortest
        assert Backoff(base=8.0, limit=60.0, jitter=jitter, draw=lambda: 1.0).delay(1) == 8.0

    def test_respects_retry_after_within_the_limit(self) -> None:
        backoff = Backoff(base=0.1, limit=10.0)

        assert backoff.delay(1, retry_after=5.0) == 5.0
        assert backoff.delay(1, retry_after=600.0) == 10.0

    @given(failures=st.integers(min_value=0, max_value=10**9))
    def test_is_bounded_after_any_number_of_failures(self, failures: int) -> None:
        assert 0.0 <= Backoff(base=0.2, limit=60.0).delay(failures) <= 60.0
