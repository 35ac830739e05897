from typing import Any

import pytest
from tests.examples.loans.errors import BookNotFound, TooManyLoans
from tests.examples.loans.ids import BookId

from portico.kit.calls.errors import (
    BreakerOpen,
    CallFailed,
    CallTimedOut,
    ConnectionLost,
    Refused,
    ResponseInvalid,
    Unreachable,
)
from portico.kit.foundation.problems import TooManyRequests, Unavailable
from portico.kit.sagas import AbortSaga, StepPending, UndoReason
from portico.kit.sagas.outcomes import outcome_of


def refused(status: int, *, retry_after: float | None = None, **problem: Any) -> Refused:
    return Refused("desk", status, problem, retry_after=retry_after)


class TestOutcomeOf:
    @pytest.mark.parametrize(
        "error",
        [
            AbortSaga("No"),
            BookNotFound(book_id=BookId.new()),
            TooManyLoans(allowed=3),
            *(refused(status) for status in (400, 401, 402, 403, 404, 409, 412, 422)),
        ],
    )
    def test_a_definite_failure_had_no_effect(self, error: Exception) -> None:
        assert outcome_of(error).kind == "refused"

    @pytest.mark.parametrize(
        "error",
        [
            *(refused(status) for status in (408, 425, 429, 500, 502, 503, 504)),
            refused(409, retry_after=1),
            TooManyRequests(),
            Unavailable(),
            CallTimedOut("desk", "late"),
            ConnectionLost("desk", "gone"),
            TimeoutError(),
            KeyError("x"),
        ],
    )
    def test_the_outcome_of_other_errors_is_unknown(self, error: Exception) -> None:
        assert outcome_of(error).kind == "failed"

    def test_an_outcome_may_be_pending(self) -> None:
        assert (outcome_of(StepPending(3)).kind, outcome_of(StepPending(3)).retry_after) == ("pending", 3)
        assert outcome_of(StepPending(0)).retry_after > 0

    @pytest.mark.parametrize("error", [refused(409), AbortSaga("No"), StepPending(1)])
    def test_may_still_have_an_effect(self, error: Exception) -> None:
        assert outcome_of(error, effect=True).effect
        assert not outcome_of(error).effect

    def test_has_retry_after(self) -> None:
        assert outcome_of(refused(503, retry_after=7)).retry_after == 7
        assert outcome_of(BreakerOpen("desk", retry_after=5)).retry_after == 5

    def test_keeps_the_problem_of_the_other_service(self) -> None:
        outcome = outcome_of(refused(402, code="card_declined", detail="The card was declined"))

        assert (outcome.code, outcome.reason) == ("card_declined", "The card was declined")
        assert outcome_of(refused(418)).code == "answered_418"

    @pytest.mark.parametrize("kind", [Unreachable, CallTimedOut, ConnectionLost, ResponseInvalid])
    def test_does_not_contain_addresses(self, kind: type[CallFailed]) -> None:
        reason = outcome_of(kind("desk", "Cannot connect to host 10.0.3.7:8002")).reason

        assert "desk" in reason
        assert "10.0.3.7" not in reason

    def test_does_not_contain_details_of_unexpected_errors(self) -> None:
        assert "secret" not in outcome_of(RuntimeError("secret")).reason

    def test_is_truncated(self) -> None:
        assert len(outcome_of(AbortSaga("x" * 10_000)).reason) == 500


class TestUndoReason:
    def test_round_trips(self) -> None:
        why = UndoReason(False, "Größer als gedacht", "too_large", "measure")

        assert UndoReason.from_json(why.to_json()) == why
        assert UndoReason.from_json(None) is None
