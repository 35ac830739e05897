"""What goes wrong on servers is decided by the seed."""

from portico.cli.drilling.strikes import Strike, planned, possible
from portico.drill.faults import ALL_FAULTS
from portico.drill.faults.plan import Kind

PARTS = ("gateway", "orders", "payments")


def plan(seed: int = 1, *, kinds: tuple[Kind, ...] = ALL_FAULTS, orders: int = 500, rate: float = 0.2) -> list[Strike]:
    return planned(seed, kinds, orders=orders, rate=rate, parts=PARTS)


class TestPlanned:
    def test_the_same_seed_gives_the_same(self) -> None:
        assert plan(3) == plan(3)
        assert plan(3) != plan(4)

    def test_a_longer_drill_begins_as_a_shorter_one(self) -> None:
        shorter = plan(orders=100)

        assert shorter
        assert plan(orders=500)[: len(shorter)] == shorter

    def test_everything_is_struck_about_as_often_as_was_asked(self) -> None:
        strikes = plan()

        assert {strike.target for strike in strikes} == {*PARTS, "RabbitMQ", "Redis", "PostgreSQL"}
        killed = {strike.target for strike in strikes if strike.kind == "drop"}
        assert killed == {"RabbitMQ", "Redis", "PostgreSQL"}
        assert 60 < len(strikes) < 140
        assert [strike.after for strike in strikes] == sorted({strike.after for strike in strikes})

    def test_only_what_is_asked_for_goes_wrong(self) -> None:
        assert {strike.kind for strike in plan(kinds=("crash", "duplicate"))} == {"crash"}
        assert plan(rate=0) == []
        assert plan(kinds=("duplicate", "reorder", "timeout")) == []

    def test_a_strike_says_what_it_is(self) -> None:
        assert str(Strike(3, "crash", "orders")) == "orders: killed"
        assert str(Strike(3, "drop", "Redis")) == "Redis: killed and started again"


class TestPossible:
    def test_what_no_server_does_on_demand_is_left_out(self) -> None:
        assert possible(ALL_FAULTS) == ("crash", "drop", "slow", "database")
