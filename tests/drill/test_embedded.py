"""The embedded drill finds no breach in the system."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kit.telemetry.restoring import silence

from portico.drill import DrillSettings, run_embedded
from portico.systems.commerce import commerce

ORDERS = 24

# A crashed service closes nothing; its connections are closed when they are collected.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with silence():
        yield


class TestCommerce:
    @pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
    async def test_keeps_its_invariants_under_faults(self, tmp_path: Path, seed: int) -> None:
        report = await run_embedded(commerce, DrillSettings(orders=ORDERS, seed=seed, rate=0.06), tmp_path)

        assert [*report.breaches, *report.history] == []
        assert report.outcomes.total() == ORDERS
        assert report.injected.total() > 10
        assert all(report.checked.values())
