import pytest

from portico.kit.calls.channel import (
    BreakerOpen,
    CallFailed,
    CallTimedOut,
    ConnectionLost,
    Refused,
    ResponseInvalid,
    ResponseTooLarge,
    Saturated,
    Unreachable,
)
from portico.kit.calls.problems import problem_of


class TestProblemOf:
    @pytest.mark.parametrize(
        ("error", "status", "code"),
        [
            (Unreachable("user", "refused"), 503, "service_unavailable"),
            (BreakerOpen("user", retry_after=3), 503, "service_unavailable"),
            (Saturated("user", limit=1), 503, "service_unavailable"),
            (CallTimedOut("user", "late"), 504, "service_timeout"),
            (ConnectionLost("user", "reset"), 502, "service_failed"),
            (ResponseTooLarge("user", limit=1), 502, "service_failed"),
            (ResponseInvalid("user", "no fit"), 502, "service_failed"),
            (Refused("user", 404, {"code": "user_not_found"}), 502, "service_failed"),
            (Refused("user", 500, {}), 502, "service_failed"),
            (Refused("user", 429, {}, retry_after=3), 503, "service_unavailable"),
            (Refused("user", 503, {}), 503, "service_unavailable"),
        ],
    )
    def test_each_failure_has_a_problem(self, error: CallFailed | Refused, status: int, code: str) -> None:
        problem = problem_of(error)

        assert (problem.status, problem.code) == (status, code)
        assert "user" in problem.sentence()

    def test_it_has_retry_after(self) -> None:
        assert problem_of(BreakerOpen("user", retry_after=2.1)).headers == {"retry-after": "3"}

    def test_it_reveals_no_internals(self) -> None:
        assert "10.0.0.1" not in problem_of(Unreachable("user", "Cannot connect to host 10.0.0.1")).sentence()
