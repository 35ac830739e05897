"""The embedded drill of ticketing finds no breach in the system, and finds planted bugs."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.drill.planting import changing
from tests.kit.telemetry.restoring import silence

from portico.drill import DrillSettings, run_embedded
from portico.systems.ticketing import ticketing

BUYERS = 24
SEATS = 20

# A crashed service closes nothing; its connections are closed when they are collected.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with silence():
        yield


class TestTicketing:
    async def test_keeps_its_invariants_under_faults(self, tmp_path: Path) -> None:
        drill = DrillSettings(orders=BUYERS, seats=SEATS, seed=1, rate=0.06)

        report = await run_embedded(ticketing, drill, tmp_path)

        assert [*report.breaches, *report.history] == []
        assert report.outcomes["CONFIRMED"] > 0
        assert report.injected.total() > 10
        assert all(number for rule, number in report.checked.items() if "waiting list" not in rule)


class TestAPlantedBug:
    async def test_a_lost_ticket_is_found(self, tmp_path: Path) -> None:
        lose = changing(
            tmp_path,
            "bookings",
            "INSERT ON tickets WHEN new.place = 1 BEGIN DELETE FROM tickets WHERE ticket_id = new.ticket_id; END",
        )

        drill = DrillSettings(orders=BUYERS, seats=SEATS, seed=1, faults=("slow",), rate=0.01)
        report = await run_embedded(ticketing, drill, tmp_path, change=lose)

        assert any(breach.message.startswith("ticket_missing of 1-") for breach in report.breaches)
        assert "the money kept is the price of the live tickets" in {breach.rule for breach in report.breaches}
        assert report.history

    async def test_a_forgotten_sale_is_found(self, tmp_path: Path) -> None:
        forget = changing(
            tmp_path,
            "inventory",
            "UPDATE ON holds WHEN new.status = 'SOLD' BEGIN UPDATE holds SET used = 0 WHERE hold_id = new.hold_id; END",
        )

        drill = DrillSettings(orders=BUYERS, seats=SEATS, seed=1, faults=("slow",), rate=0.01)
        report = await run_embedded(ticketing, drill, tmp_path, change=forget)

        assert "the states of places are those of holds and tickets" in {breach.rule for breach in report.breaches}
        assert any(breach.message.startswith("ticket_surplus of 1-") for breach in report.breaches)

    async def test_a_changed_ledger_is_found(self, tmp_path: Path) -> None:
        change = changing(
            tmp_path,
            "inventory",
            "INSERT ON queue_ledger WHEN new.sequence = 3 BEGIN"
            " UPDATE queue_ledger SET number = 9 WHERE show_id = new.show_id AND sequence = 3; END",
        )

        drill = DrillSettings(orders=BUYERS, seats=SEATS, seed=1, faults=("slow",), rate=0.01)
        report = await run_embedded(ticketing, drill, tmp_path, change=change)

        assert {breach.rule for breach in report.breaches} == {
            "waiting rooms admit in order, and their ledgers are chains"
        }
