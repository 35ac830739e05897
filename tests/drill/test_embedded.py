"""The embedded drill finds no breach in the system, and finds planted bugs."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.drill.planting import changing
from tests.kit.telemetry.restoring import silence

from portico.drill import DrillSettings, run_embedded
from portico.kit.sagas import Saga, Step, minutes, seconds
from portico.services.orders import service as orders
from portico.services.orders.saga import (
    PlacingState,
    confirm_stock,
    end_order,
    mark_confirmed,
    mark_paid,
    mark_reserved,
    reserve_stock,
    take_payment,
    void_payment,
)
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


@pytest.mark.slow
class TestAPlantedBug:
    async def test_an_inbox_that_forgets_is_found(self, tmp_path: Path) -> None:
        forget = changing(
            tmp_path,
            "notifications",
            "INSERT ON inbox WHEN new.consumer = 'queue-order-mail'"
            " BEGIN DELETE FROM inbox WHERE event_id = new.event_id; END",
        )

        drill = DrillSettings(orders=ORDERS, seed=1, faults=("duplicate",), rate=0.05)
        report = await run_embedded(commerce, drill, tmp_path, change=forget)

        assert {breach.rule for breach in report.breaches} == {"every consumer handled every event"}
        assert any("queue-order-mail" in breach.message for breach in report.breaches)
        assert report.history

    async def test_an_unpublished_event_is_found(self, tmp_path: Path) -> None:
        swallow = changing(
            tmp_path,
            "orders",
            "INSERT ON outbox WHEN new.type = 'order.updated' BEGIN DELETE FROM outbox WHERE id = new.id; END",
        )

        drill = DrillSettings(orders=ORDERS, seed=1, faults=("slow",), rate=0.01)
        report = await run_embedded(commerce, drill, tmp_path, change=swallow)

        assert "each change of an order or payment is published once" in {breach.rule for breach in report.breaches}
        assert any("order.updated was published 0 times" in breach.message for breach in report.breaches)

    async def test_a_mail_that_is_not_queued_is_found(self, tmp_path: Path) -> None:
        lose = changing(
            tmp_path,
            "notifications",
            "INSERT ON notifications WHEN new.template = 'order-shipped'"
            " BEGIN DELETE FROM notifications WHERE notification_id = new.notification_id; END",
        )

        drill = DrillSettings(orders=ORDERS, seed=1, faults=("slow",), rate=0.01)
        report = await run_embedded(commerce, drill, tmp_path, change=lose)

        assert {breach.rule for breach in report.breaches} == {"each mail about an order is sent once"}
        assert any("has no mail order-shipped" in breach.message for breach in report.breaches)

    async def test_a_missing_compensation_is_found(self, tmp_path: Path) -> None:
        careless = Saga(
            "place-order",
            PlacingState,
            Step(
                "reserve-stock", reserve_stock, record=mark_reserved, within=seconds(10), retry=9
            ),  # the stock is never released
            Step("take-payment", take_payment, record=mark_paid, undo=void_payment, within=seconds(30), retry=9),
            Step("confirm-stock", confirm_stock, record=mark_confirmed, within=seconds(10), retry=12),
            deadline=minutes(15),
            when_undone=end_order,
        )
        others = [saga for saga in orders.sagas if saga.name != "place-order"]
        services = {
            replace(service, sagas=[careless, *others]) if service is orders else service: port
            for service, port in commerce.services.items()
        }

        drill = DrillSettings(orders=ORDERS, seed=1, faults=("slow",), rate=0.01)
        report = await run_embedded(replace(commerce, services=services), drill, tmp_path)

        assert {breach.rule for breach in report.breaches} == {"stock is held for active orders only"}
        assert any("its stock is still reserved" in breach.message for breach in report.breaches)
        assert any("payment failed" in line for line in report.history)
