import pytest

from portico.drill.faults import ALL_FAULTS, FaultPlan, Point, UnknownFault, fault_kinds


def drawn(plan: FaultPlan, service: str, times: int) -> list[object]:
    return [plan.next(service, "call") for _ in range(times)]


class TestFaultPlan:
    def test_the_same_seed_gives_the_same_faults(self) -> None:
        assert drawn(FaultPlan(7, rate=0.5), "orders", 50) == drawn(FaultPlan(7, rate=0.5), "orders", 50)

    def test_another_seed_gives_other_faults(self) -> None:
        assert drawn(FaultPlan(7, rate=0.5), "orders", 50) != drawn(FaultPlan(8, rate=0.5), "orders", 50)

    def test_the_faults_of_a_service_do_not_depend_on_other_services(self) -> None:
        alone, beside = FaultPlan(7, rate=0.5), FaultPlan(7, rate=0.5)
        mixed = []
        for _ in range(50):
            beside.next("payments", "call")
            mixed.append(beside.next("orders", "call"))

        assert drawn(alone, "orders", 50) == mixed

    def test_the_number_of_faults_follows_the_rate(self) -> None:
        plan = FaultPlan(1, rate=0.1)
        drawn(plan, "orders", 2_000)

        assert 100 < plan.injected.total() < 300
        assert plan.points["call"] == 2_000

    def test_only_the_named_kinds_occur(self) -> None:
        plan = FaultPlan(1, ["slow"], rate=1.0)

        assert {fault.kind for fault in drawn(plan, "orders", 20) if fault} == {"slow"}  # type: ignore[attr-defined]

    def test_a_kind_that_is_not_possible_at_a_site_does_not_occur(self) -> None:
        plan = FaultPlan(1, ["database"], rate=1.0)

        assert plan.at(Point("orders", "call", 1)) is None
        assert plan.at(Point("orders", "commit", 1)) is not None

    def test_an_inactive_plan_has_no_faults(self) -> None:
        plan = FaultPlan(1, rate=1.0)
        plan.active = False

        assert drawn(plan, "orders", 10) == [None] * 10


class TestFaultKinds:
    def test_parses_a_list(self) -> None:
        assert fault_kinds("slow, crash") == ("crash", "slow")
        assert fault_kinds(",".join(ALL_FAULTS)) == ALL_FAULTS

    @pytest.mark.parametrize("text", ["", "crash,flood", "Crash"])
    def test_rejects_unknown_kinds(self, text: str) -> None:
        with pytest.raises(UnknownFault, match="Known: crash"):
            fault_kinds(text)
