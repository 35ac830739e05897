from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from sqlalchemy import update
from tests.services.seating.support import BOOKING, FLOOR, SeatingService, open_seating

from portico.contracts.bookings import BookingId, TicketId
from portico.contracts.events import SectionPlan, ShowId
from portico.kit import Service
from portico.kit.calls import Incoming, Outgoing
from portico.services.seating import service
from portico.services.seating.repository import BLOCKS, SECTIONS
from portico.testing.channels import canned_response
from portico.testing.databases import Databases
from portico.testing.running_service import RunningService, run_service, system_of

FRONT = SectionPlan(name="Front", rows=2, seats_per_row=4)
BOOKINGS = Service(name="bookings", summary="Does not run", module=__name__)


class Bookings:
    """A channel to bookings, which has `tickets`, and to identity, which issues tokens."""

    def __init__(self) -> None:
        self.tickets: list[dict[str, Any]] = []

    async def send(self, out: Outgoing) -> Incoming:
        token = {"access_token": "token", "token_type": "Bearer", "expires_in": 3600}
        return canned_response(200, orjson.dumps(token if out.service == "identity" else self.tickets))


async def mismatches(seating: SeatingService, show_id: ShowId) -> list[tuple[str, str]]:
    """Return kind and place of each mismatch."""
    answer = await seating.run.as_user("inventory:read").get(f"/inventory/{show_id}/reconcile")
    assert answer.status_code == 200, answer.content
    return [(each["kind"], each["place"]) for each in answer.json()["mismatches"]]


async def change(run: RunningService, statement: Any) -> None:
    """Change the database past the rules."""
    async with run.context.transaction() as work:
        await work.execute(statement)


class TestPlaces:
    async def test_that_agree_have_no_mismatch(self, seating: SeatingService) -> None:
        show_id = await seating.show((FRONT, FLOOR))
        for wanted in ({"seats": ["1-A-1", "1-A-2"]}, {"quantity": 3, "section": "Floor"}):
            hold = await seating.given_hold(show_id, **wanted)
            await seating.sell(hold)
        await seating.put(hold, "return", key="one", places=[{"section": "Floor"}])
        await seating.given_hold(show_id, 2)

        assert await mismatches(seating, show_id) == []

    async def test_that_differ_from_the_holds_are_found(self, embedded: SeatingService) -> None:
        show_id = await embedded.show((FRONT, FLOOR))
        await embedded.given_hold(show_id, seats=["1-A-2"])
        await embedded.given_hold(show_id, 2, section="Floor")
        states = b"\nHFFF\nFFFF\n" + b"".join(each.to_bytes(4, "little") for each in (9, 1, 0, 0))
        await change(embedded.run, update(BLOCKS).values(states=states))
        await change(embedded.run, update(SECTIONS).where(SECTIONS.c.number == 1).values(held=2))

        assert await mismatches(embedded, show_id) == [
            ("seat_state", "1-A-1"),
            ("seat_state", "1-A-2"),
            ("section_counts", "Front"),
            ("section_counts", "Floor"),
            ("section_counts", "Floor"),
        ]

    async def test_are_compared_for_staff_only(self, embedded: SeatingService) -> None:
        show_id = await embedded.show((FRONT,))

        answer = await embedded.run.as_user().get(f"/inventory/{show_id}/reconcile")

        assert answer.status_code == 403

    async def test_of_an_unknown_show_are_404_and_leave_no_transaction_open(self, embedded: SeatingService) -> None:
        show_id = await embedded.show((FRONT,))
        staff = embedded.run.as_user("inventory:read")

        unknown = [await staff.get(f"/inventory/{ShowId.new()}/reconcile") for _ in range(20)]

        assert {answer.status_code for answer in unknown} == {404}
        assert await mismatches(embedded, show_id) == []


class TestTickets:
    @pytest.fixture
    def channel(self) -> Bookings:
        return Bookings()

    @pytest.fixture
    async def seating(self, sqlite_databases: Databases, channel: Bookings) -> AsyncIterator[SeatingService]:
        """Seating beside bookings, whose answers the test writes."""
        system = system_of(service, BOOKINGS)
        async with run_service(service, sqlite_databases, system=system, channel=channel, background=False) as run:
            yield SeatingService(run)

    async def test_are_one_for_each_sold_place(self, seating: SeatingService, channel: Bookings) -> None:
        show_id = await seating.show((FRONT, FLOOR))
        seated = await seating.given_hold(show_id, seats=["1-A-1", "1-A-2"])
        standing = await seating.given_hold(show_id, 2, section="Floor")
        for hold in (seated, standing):
            await seating.sell(hold)
        tickets = [ticket(seated, "Front", "1-A-1"), ticket(standing, "Floor"), ticket(standing, "Floor")]

        channel.tickets = [*tickets, ticket(seated, "Front", "1-A-2")]
        complete = await mismatches(seating, show_id)
        channel.tickets = [*tickets, ticket(seated, "Front", "1-A-2", booking_id=BookingId.new())]
        wrong = await mismatches(seating, show_id)

        assert complete == []
        assert wrong == [("ticket_missing", "1-A-2"), ("ticket_surplus", "1-A-2")]


def ticket(hold: dict[str, Any], section: str, seat_id: str | None = None, booking_id: str = BOOKING) -> dict[str, Any]:
    """Return a live ticket as bookings answers."""
    members = {"hold_id": hold["hold_id"], "section": section, "seat_id": seat_id}
    return {"ticket_id": TicketId.new(), "booking_id": booking_id, **members}


async def test_without_bookings_only_places_are_compared(sqlite_databases: Databases) -> None:
    async with open_seating(sqlite_databases) as seating:
        show_id = await seating.show((FRONT,))
        await seating.sell(await seating.given_hold(show_id, 2))

        assert await mismatches(seating, show_id) == []
