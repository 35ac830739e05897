"""The embedded drill of ticketing finds no breach in the system, and finds planted bugs."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.drill.planting import changing
from tests.kit.telemetry.restoring import silence

from portico.drill import DrillSettings, run_embedded
from portico.systems.ticketing import ticketing

BUYERS = 24
SEATS = 20
QUIET = DrillSettings(orders=BUYERS, seats=SEATS, seed=1, faults=("slow",), rate=0.01)
SWAP = """
    UPDATE ON waitlist_entries
    WHEN new.status = 'OFFERED' AND (SELECT max(number) FROM waitlist_entries WHERE status = 'WAITING') > new.number
    BEGIN
        UPDATE waitlist_entries
        SET number = -(SELECT max(number) FROM waitlist_entries WHERE status = 'WAITING')
        WHERE entry_id = new.entry_id;
        UPDATE waitlist_entries SET number = new.number
        WHERE number = (SELECT max(number) FROM waitlist_entries WHERE status = 'WAITING');
        UPDATE waitlist_entries SET number = -number WHERE number < 0;
    END
"""
"""The newest party gets the number of the party that has an offer, and is the next one."""
OF_THE_WAITING_LIST = {
    "every place in the waiting list ends",
    "places are offered to the oldest party that they suffice for",
}
"""Rules that may have nothing to check: whether a buyer waits depends on timing."""

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
        assert all(number for rule, number in report.checked.items() if rule not in OF_THE_WAITING_LIST)


class TestAPlantedBug:
    async def test_a_lost_ticket_is_found(self, tmp_path: Path) -> None:
        lose = changing(
            tmp_path,
            "bookings",
            "INSERT ON tickets WHEN new.place = 1 BEGIN DELETE FROM tickets WHERE ticket_id = new.ticket_id; END",
        )

        report = await run_embedded(ticketing, QUIET, tmp_path, change=lose)

        assert any(breach.message.startswith("ticket_missing of 1-") for breach in report.breaches)
        assert "the money kept is the price of the live tickets" in {breach.rule for breach in report.breaches}
        assert report.history

    async def test_a_forgotten_sale_is_found(self, tmp_path: Path) -> None:
        forget = changing(
            tmp_path,
            "inventory",
            "UPDATE ON holds WHEN new.status = 'SOLD' BEGIN UPDATE holds SET used = 0 WHERE hold_id = new.hold_id; END",
        )

        report = await run_embedded(ticketing, QUIET, tmp_path, change=forget)

        assert "the states of places are those of holds and tickets" in {breach.rule for breach in report.breaches}
        assert any(breach.message.startswith("ticket_surplus of 1-") for breach in report.breaches)

    async def test_a_changed_ledger_is_found(self, tmp_path: Path) -> None:
        change = changing(
            tmp_path,
            "inventory",
            "INSERT ON queue_ledger WHEN new.sequence = 3 BEGIN"
            " UPDATE queue_ledger SET number = 9 WHERE show_id = new.show_id AND sequence = 3; END",
        )

        report = await run_embedded(ticketing, QUIET, tmp_path, change=change)

        rules = {breach.rule for breach in report.breaches}
        assert "the ledgers of waiting rooms are chains" in rules
        assert rules <= {"the ledgers of waiting rooms are chains", "waiting rooms admit in order"}

    async def test_a_lost_place_in_the_waiting_room_is_found(self, tmp_path: Path) -> None:
        lose = changing(
            tmp_path,
            "inventory",
            "INSERT ON queue_entries WHEN new.number = 28 AND new.status = 'WAITING' BEGIN"
            " UPDATE queue_entries SET status = 'LEFT' WHERE queue_id = new.queue_id; END",
        )

        report = await run_embedded(ticketing, replace(QUIET, orders=40), tmp_path, change=lose)

        assert {breach.rule for breach in report.breaches} == {"waiting rooms admit in order"}
        assert any("which was not the first to wait" in breach.message for breach in report.breaches)

    async def test_offers_out_of_order_are_found(self, tmp_path: Path) -> None:
        swap = changing(tmp_path, "inventory", SWAP)

        report = await run_embedded(ticketing, replace(QUIET, orders=80), tmp_path, change=swap)

        assert {breach.rule for breach in report.breaches} == {
            "places are offered to the oldest party that they suffice for"
        }

    async def test_a_mail_that_is_not_queued_is_found(self, tmp_path: Path) -> None:
        lose = changing(
            tmp_path,
            "notifications",
            "INSERT ON notifications WHEN new.template = 'tickets'"
            " BEGIN DELETE FROM notifications WHERE notification_id = new.notification_id; END",
        )

        report = await run_embedded(ticketing, QUIET, tmp_path, change=lose)

        assert {breach.rule for breach in report.breaches} == {
            "each mail about a booking, a refund or an offer is sent once"
        }
        assert any(breach.message.startswith("the mail tickets to bkg_") for breach in report.breaches)
        assert report.history

    async def test_an_unpublished_event_is_found(self, tmp_path: Path) -> None:
        swallow = changing(
            tmp_path,
            "bookings",
            "INSERT ON outbox WHEN new.type = 'ticket.issued' BEGIN DELETE FROM outbox WHERE id = new.id; END",
        )

        report = await run_embedded(ticketing, QUIET, tmp_path, change=swallow)

        assert {breach.rule for breach in report.breaches} == {
            "each change of a booking, ticket, hold, offer or payment is published once"
        }
        assert any(breach.message.startswith("ticket.issued of tkt_") for breach in report.breaches)

    async def test_a_show_that_the_index_forgets_is_found(self, tmp_path: Path) -> None:
        forget = changing(
            tmp_path, "search", "INSERT ON shows_a BEGIN DELETE FROM shows_a WHERE show_id = new.show_id; END"
        )

        report = await run_embedded(ticketing, QUIET, tmp_path, change=forget)

        assert {breach.rule for breach in report.breaches} == {"the index of search equals the shows"}
        assert any("is missing in the live index" in breach.message for breach in report.breaches)
