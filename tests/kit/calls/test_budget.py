from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from portico.kit.calls.retries import RetryBudget


class BudgetMachine(RuleBasedStateMachine):
    """Retries never exceed the burst and the share of the calls."""

    @initialize(ratio=st.sampled_from([1.0, 0.5, 0.2, 0.1]), burst=st.integers(0, 10))
    def begin(self, ratio: float, burst: int) -> None:
        self.budget = RetryBudget(ratio, burst)
        self.ratio, self.burst = ratio, burst
        self.calls = self.retries = 0

    @rule(times=st.integers(1, 30))
    def call(self, times: int) -> None:
        for _ in range(times):
            self.budget.record_call()
            self.calls += 1

    @rule()
    def retry(self) -> None:
        self.retries += self.budget.spend()

    @invariant()
    def retries_stay_within_the_budget(self) -> None:
        if hasattr(self, "budget"):
            assert self.retries <= self.burst + self.calls * self.ratio


TestBudgetMachine = BudgetMachine.TestCase


class TestRetryBudget:
    def test_starts_with_the_burst(self) -> None:
        budget = RetryBudget(burst=3)

        assert [budget.spend() for _ in range(4)] == [True, True, True, False]

    def test_five_calls_add_one_retry(self) -> None:
        budget = RetryBudget(ratio=0.2, burst=1)
        budget.spend()
        for _ in range(4):
            budget.record_call()
        too_early = budget.spend()
        budget.record_call()

        assert (too_early, budget.spend()) == (False, True)

    def test_saves_at_most_the_burst(self) -> None:
        budget = RetryBudget(burst=2)
        for _ in range(1000):
            budget.record_call()

        assert [budget.spend() for _ in range(3)] == [True, True, False]
