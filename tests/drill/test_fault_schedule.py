"""The seed determines the faults on servers."""

from portico.drill.fault_schedule import ScheduledFault, feasible_kinds, schedule_faults
from portico.drill.faults import ALL_FAULTS
from portico.drill.faults.plan import Kind

PARTS = ("gateway", "orders", "payments")


def plan(
    seed: int = 1, *, kinds: tuple[Kind, ...] = ALL_FAULTS, orders: int = 500, rate: float = 0.2
) -> list[ScheduledFault]:
    return schedule_faults(seed, kinds, orders=orders, rate=rate, parts=PARTS)


class TestScheduleFaults:
    def test_the_same_seed_gives_the_same_faults(self) -> None:
        assert plan(3) == plan(3)
        assert plan(3) != plan(4)

    def test_a_longer_drill_begins_with_the_faults_of_a_shorter_one(self) -> None:
        shorter = plan(orders=100)

        assert shorter
        assert plan(orders=500)[: len(shorter)] == shorter

    def test_every_target_has_faults_at_the_given_rate(self) -> None:
        faults = plan()

        assert {fault.target for fault in faults} == {*PARTS, "RabbitMQ", "Redis", "PostgreSQL"}
        killed = {fault.target for fault in faults if fault.kind == "drop"}
        assert killed == {"RabbitMQ", "Redis", "PostgreSQL"}
        assert 60 < len(faults) < 140
        assert [fault.after for fault in faults] == sorted({fault.after for fault in faults})

    def test_only_the_named_kinds_occur(self) -> None:
        assert {fault.kind for fault in plan(kinds=("crash", "duplicate"))} == {"crash"}
        assert plan(rate=0) == []
        assert plan(kinds=("duplicate", "reorder", "timeout")) == []

    def test_a_fault_describes_itself(self) -> None:
        assert str(ScheduledFault(3, "crash", "orders")) == "orders: killed"
        assert str(ScheduledFault(3, "drop", "Redis")) == "Redis: killed and restarted"


class TestFeasibleKinds:
    def test_kinds_that_cannot_be_caused_on_servers_are_left_out(self) -> None:
        assert feasible_kinds(ALL_FAULTS) == ("crash", "drop", "slow", "database")
