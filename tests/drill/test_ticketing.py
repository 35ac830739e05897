"""The embedded drill of ticketing finds no breach in the system."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kit.telemetry.restoring import silence

from portico.drill import DrillSettings, run_embedded
from portico.systems.ticketing import ticketing

BUYERS = 24
SEATS = 20
OF_THE_WAITING_LIST = {
    "every place in the waiting list ends",
    "places are offered to the oldest party that they suffice for",
}
"""Invariants that may have nothing to check: whether a buyer waits depends on timing."""

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
        assert all(number for invariant, number in report.checked.items() if invariant not in OF_THE_WAITING_LIST)
