from collections.abc import Callable

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from portico.kit.calls.breaker import Breaker, BreakerConfig, BreakerState, Permit, is_proxy_error
from portico.testing.clock import ManualClock

TRIPPING = BreakerConfig(consecutive=3, ratio=0.5, min_calls=10, window=10, open_for=5, max_open_for=20, trials=1)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def breaker(clock: ManualClock) -> Breaker:
    return Breaker(TRIPPING, clock.monotonic)


def entered(breaker: Breaker) -> Permit:
    passage = breaker.enter()
    assert passage is not None
    return passage


def trip(breaker: Breaker) -> None:
    for _ in range(TRIPPING.consecutive):
        entered(breaker).record_failure()


class TestOpening:
    def test_consecutive_failures_open_it(self, breaker: Breaker) -> None:
        trip(breaker)

        assert breaker.state is BreakerState.OPEN
        assert breaker.enter() is None
        assert breaker.retry_after == TRIPPING.open_for
        assert breaker.openings == 1

    def test_a_success_resets_the_count(self, breaker: Breaker) -> None:
        for outcome in (
            Permit.record_failure,
            Permit.record_failure,
            Permit.record_success,
            Permit.record_failure,
            Permit.record_failure,
        ):
            outcome(entered(breaker))

        assert breaker.state is BreakerState.CLOSED

    def test_half_of_many_calls_failing_opens_it(self, breaker: Breaker) -> None:
        for _ in range(TRIPPING.min_calls // 2):
            entered(breaker).record_success()
            entered(breaker).record_failure()

        assert breaker.state is BreakerState.OPEN

    def test_half_of_few_calls_failing_does_not(self, breaker: Breaker) -> None:
        for _ in range(TRIPPING.min_calls // 2 - 1):
            entered(breaker).record_success()
            entered(breaker).record_failure()

        assert breaker.state is BreakerState.CLOSED

    def test_failures_before_the_window_are_ignored(self, breaker: Breaker, clock: ManualClock) -> None:
        for _ in range(TRIPPING.min_calls // 2 - 1):
            entered(breaker).record_success()
            entered(breaker).record_failure()
        clock.advance(TRIPPING.window + 1)
        entered(breaker).record_success()
        entered(breaker).record_failure()

        assert breaker.state is BreakerState.CLOSED

    def test_an_abandoned_call_does_not_count(self, breaker: Breaker) -> None:
        for _ in range(10):
            entered(breaker).record_abandoned()

        assert breaker.state is BreakerState.CLOSED


class TestTrial:
    def test_one_call_is_let_through_after_the_waiting_time(self, breaker: Breaker, clock: ManualClock) -> None:
        trip(breaker)
        clock.advance(TRIPPING.open_for)

        assert breaker.state is BreakerState.HALF_OPEN
        assert breaker.enter() is not None
        assert breaker.enter() is None

    def test_a_successful_trial_closes_it(self, breaker: Breaker, clock: ManualClock) -> None:
        trip(breaker)
        clock.advance(TRIPPING.open_for)
        entered(breaker).record_success()

        assert breaker.state is BreakerState.CLOSED

    def test_a_failed_trial_doubles_the_waiting_time_up_to_the_limit(
        self, breaker: Breaker, clock: ManualClock
    ) -> None:
        trip(breaker)
        periods = []
        for _ in range(4):
            clock.advance(breaker.retry_after)
            entered(breaker).record_failure()
            periods.append(breaker.retry_after)

        assert periods == [10, 20, 20, 20]

    def test_an_abandoned_trial_allows_another(self, breaker: Breaker, clock: ManualClock) -> None:
        trip(breaker)
        clock.advance(TRIPPING.open_for)
        entered(breaker).record_abandoned()

        assert breaker.admits()

    def test_a_call_that_started_before_the_opening_is_ignored(self, breaker: Breaker, clock: ManualClock) -> None:
        early = entered(breaker)
        trip(breaker)
        clock.advance(TRIPPING.open_for)
        entered(breaker)
        early.record_success()

        assert breaker.state is BreakerState.HALF_OPEN

    def test_only_the_first_end_of_a_call_counts(self, breaker: Breaker) -> None:
        for _ in range(TRIPPING.consecutive):
            passage = entered(breaker)
            passage.record_success()
            passage.record_failure()

        assert breaker.state is BreakerState.CLOSED


class BreakerMachine(RuleBasedStateMachine):
    """The invariants of a breaker hold for any sequence of events."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.breaker = Breaker(
            BreakerConfig(consecutive=3, min_calls=4, window=8, open_for=2, max_open_for=8, trials=2),
            self.clock.monotonic,
        )
        self.under_way: list[Permit] = []
        self.trials: list[Permit] = []

    @rule()
    def call(self) -> None:
        admits, half_open = self.breaker.admits(), self.breaker.state is BreakerState.HALF_OPEN
        passage = self.breaker.enter()
        assert (passage is not None) == admits
        if passage is not None:
            self.under_way.append(passage)
            if half_open:
                self.trials.append(passage)

    @precondition(lambda self: self.under_way)
    @rule(
        which=st.integers(0),
        how=st.sampled_from([Permit.record_success, Permit.record_failure, Permit.record_abandoned]),
    )
    def end(self, which: int, how: Callable[[Permit], None]) -> None:
        passage = self.under_way.pop(which % len(self.under_way))
        if passage in self.trials:
            self.trials.remove(passage)
        how(passage)
        if self.breaker.state is not BreakerState.HALF_OPEN:
            self.trials.clear()

    @rule(seconds=st.floats(0, 10))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @invariant()
    def trials_in_flight_are_limited(self) -> None:
        assert len(self.trials) <= 2

    @invariant()
    def retry_after_is_consistent(self) -> None:
        assert (self.breaker.retry_after == 0) == self.breaker.admits()
        assert 0 <= self.breaker.retry_after <= 8 + 1e-9  # differences of times are rounded

    @invariant()
    def it_can_always_close_again(self) -> None:
        if not self.under_way and self.breaker.state is BreakerState.HALF_OPEN:
            assert self.breaker.admits()


TestBreakerMachine = BreakerMachine.TestCase


class TestIsProxyError:
    @pytest.mark.parametrize("status", [502, 503, 504])
    def test_true_for_a_bare_gateway_error(self, status: int) -> None:
        assert is_proxy_error(status, [(b"content-type", b"text/html")])

    def test_false_for_a_problem_document(self) -> None:
        assert not is_proxy_error(503, [(b"content-type", b"application/problem+json; charset=utf-8")])

    @pytest.mark.parametrize("status", [200, 404, 429, 500])
    def test_false_for_other_statuses(self, status: int) -> None:
        assert not is_proxy_error(status, [])


class TestProbe:
    def test_a_probe_passes_an_open_breaker_and_closes_it(self, breaker: Breaker) -> None:
        trip(breaker)
        probe = breaker.enter(probe=True)
        assert probe is not None
        assert breaker.enter(probe=True) is None, "one trial at a time"

        probe.record_success()

        assert breaker.state is BreakerState.CLOSED

    def test_a_failed_probe_does_not_extend_the_waiting_time(self, breaker: Breaker, clock: ManualClock) -> None:
        trip(breaker)
        clock.advance(2)
        probe = breaker.enter(probe=True)
        assert probe is not None

        probe.record_failure()

        assert breaker.state is BreakerState.OPEN
        assert breaker.retry_after == TRIPPING.open_for - 2
        assert breaker.openings == 1
