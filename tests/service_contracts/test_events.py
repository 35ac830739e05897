"""Events, seating and search together: each understands what the others publish and answer."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from portico.contracts.bookings import BookingId
from portico.contracts.events import EventsClient, ShowId
from portico.contracts.seating import HoldId, SeatingClient
from portico.kit import Event, UserId
from portico.kit.calls.channel import Channel, Incoming, Outgoing
from portico.kit.calls.client import Calls
from portico.kit.calls.errors import Refused
from portico.services.events import service as events
from portico.services.search import service as search
from portico.services.seating import service as seating
from portico.testing.databases import Databases
from portico.testing.running_service import Caller, RunningService, run_service

STALLS = {"name": "Stalls", "rows": 2, "seats_per_row": 5}
FLOOR = {"name": "Floor", "capacity": 10}
SHOW = {
    "event_name": "Queen",
    "event_date": "2026-03-01T19:00:00Z",
    "venue_name": "Wembley Arena",
    "total_seats": 20,
    "status": "ON_SALE",
    "sections": [STALLS, FLOOR],
}


class WithTokens(Channel):
    """Reaches seating, and issues tokens in place of identity."""

    def __init__(self, seating: RunningService) -> None:
        self._seating = seating

    async def send(self, out: Outgoing) -> Incoming:
        if out.path != "/oauth/token":
            return await self._seating.channel.send(out)
        token = {"access_token": self._seating.issuer.token("service:events"), "expires_in": 600}
        return Incoming(200, [(b"content-type", b"application/json")], orjson.dumps(token))


@dataclass
class BoxOffice:
    """The three services. `deliver` brings the events of each to the others."""

    events: RunningService
    seating: RunningService
    search: RunningService
    _delivered: dict[str, int] = field(default_factory=dict)

    @property
    def organizer(self) -> Caller:
        return self.events.as_user("events:write")

    async def create(self, **changes: Any) -> ShowId:
        answer = await self.organizer.post("/events", json={**SHOW, **changes})
        assert answer.status_code == 201, answer.content
        await self.deliver()
        return ShowId(answer.json()["event_id"])

    async def update(self, show_id: ShowId, **changes: Any) -> tuple[int, Any]:
        answer = await self.organizer.put(f"/events/{show_id}", json=changes)
        await self.deliver()
        return answer.status_code, answer.json()

    async def read(self, show_id: ShowId) -> Any:
        self.events.clock.advance(1)  # counts of places are kept for a second
        return (await self.events.anonymous.get(f"/events/{show_id}")).json()

    async def hold(self, show_id: ShowId, quantity: int, section: str) -> Any:
        body = {"quantity": quantity, "section": section}
        answer = await self.seating.as_user().post(f"/inventory/{show_id}/holds", json=body)
        assert answer.status_code == 201, answer.content
        return answer.json()

    @property
    def bookings(self) -> SeatingClient:
        """Seating as the service bookings calls it."""
        token = self.seating.issuer.token("service:bookings")
        return Calls(self.seating.channel, identity=token)(SeatingClient)

    async def sell_all(self, show_id: ShowId) -> tuple[HoldId, BookingId]:
        """Sell the ten places of a show to one user."""
        hold = await self.hold(show_id, 10, "Floor")
        hold_id, booking_id = HoldId(hold["hold_id"]), BookingId.new()
        await self.bookings.claim(hold_id, show_id, booking_id=booking_id, user_id=UserId(hold["user_id"]))
        await self.bookings.sell(hold_id, show_id, booking_id=booking_id)
        await self.deliver()
        return hold_id, booking_id

    async def deliver(self) -> None:
        for event in await self._new("events", self.events):
            await self.seating.receives(event)
            await self.search.receives(event)
        for event in await self._new("seating", self.seating):
            if event.event_type in {"seats.exhausted", "seats.returned"}:
                await self.events.receives(event)

    async def _new(self, name: str, service: RunningService) -> list[Event]:
        published = await service.published()
        first, self._delivered[name] = self._delivered.get(name, 0), len(published)
        return published[first:]


@pytest.fixture
async def office(sqlite_databases: Databases) -> AsyncIterator[BoxOffice]:
    async with (
        run_service(seating, sqlite_databases, background=False) as places,
        run_service(events, sqlite_databases, background=False, channel=WithTokens(places)) as shows,
        run_service(search, sqlite_databases, background=False) as found,
    ):
        yield BoxOffice(shows, places, found)


class TestShows:
    async def test_get_their_places_and_are_found(self, office: BoxOffice) -> None:
        show_id = await office.create()

        inventory = (await office.seating.anonymous.get(f"/inventory/{show_id}")).json()
        found = (await office.search.anonymous.get("/search", params={"q": "queen"})).json()

        assert (inventory["total_seats"], inventory["available"]) == (20, 20)
        assert [each["event_id"] for each in found["events"]] == [show_id]

    async def test_show_how_many_places_are_available(self, office: BoxOffice) -> None:
        show_id = await office.create()
        before = await office.read(show_id)

        await office.hold(show_id, 3, "Floor")

        assert (before["available_seats"], (await office.read(show_id))["available_seats"]) == (20, 17)

    async def test_grow_by_sections_and_keep_places_in_use(self, office: BoxOffice) -> None:
        show_id = await office.create()
        await office.hold(show_id, 3, "Floor")

        grown = await office.update(show_id, sections=[STALLS, FLOOR, {"name": "Balcony", "capacity": 5}])
        refused = await office.update(show_id, sections=[STALLS, {**FLOOR, "capacity": 2}])

        assert (grown[0], grown[1]["total_seats"], grown[1]["available_seats"]) == (200, 25, 22)
        assert (refused[0], refused[1]["code"], refused[1]["section"], refused[1]["used"]) == (
            409,
            "seats_in_use",
            "Floor",
            3,
        )
        inventory = (await office.seating.anonymous.get(f"/inventory/{show_id}")).json()
        assert (inventory["total_seats"], inventory["available"], inventory["held"]) == (25, 22, 3)

    async def test_are_sold_out_with_the_last_place_and_on_sale_again_when_places_return(
        self, office: BoxOffice
    ) -> None:
        show_id = await office.create(sections=[FLOOR], total_seats=10, max_seats_per_user=10)

        hold_id, booking_id = await office.sell_all(show_id)
        sold_out = await office.read(show_id)
        await office.bookings.return_places(
            hold_id, show_id, booking_id=booking_id, key="return-1", places=[{"section": "Floor"}]
        )
        await office.deliver()
        returned = await office.read(show_id)

        assert (sold_out["status"], sold_out["available_seats"]) == ("SOLD_OUT", 0)
        assert (returned["status"], returned["available_seats"]) == ("ON_SALE", 1)

    async def test_that_are_sold_out_are_on_sale_again_when_they_grow(self, office: BoxOffice) -> None:
        show_id = await office.create(sections=[FLOOR], total_seats=10, max_seats_per_user=10)
        await office.sell_all(show_id)
        assert (await office.read(show_id))["status"] == "SOLD_OUT"

        await office.update(show_id, total_seats=12)
        await office.deliver()

        show = await office.read(show_id)
        assert (show["status"], show["available_seats"]) == ("ON_SALE", 2)

    async def test_are_deleted_everywhere_unless_places_are_in_use(self, office: BoxOffice) -> None:
        used, unused = await office.create(), await office.create()
        await office.hold(used, 1, "Floor")

        answers = [await office.organizer.delete(f"/events/{show_id}") for show_id in (used, unused)]
        await office.deliver()

        assert [each.status_code for each in answers] == [409, 204]
        assert answers[0].json()["code"] == "event_in_use"
        assert (await office.seating.anonymous.get(f"/inventory/{unused}")).status_code == 404
        found = (await office.search.anonymous.get("/search")).json()
        assert [each["event_id"] for each in found["events"]] == [used]


class TestEventsClient:
    async def test_reads_a_show(self, office: BoxOffice) -> None:
        show_id = await office.create(refund_percent=80, cancellable_until="2026-02-01T00:00:00Z")
        client = Calls(office.events.channel, identity=office.events.issuer.token("service:bookings"))(EventsClient)

        show = await client.show(show_id)

        assert (show.event_id, show.event_name, show.status, show.refund_percent) == (show_id, "Queen", "ON_SALE", 80)
        assert show.cancellable_until.isoformat() == "2026-02-01T00:00:00+00:00"
        with pytest.raises(Refused) as refused:
            await client.show(ShowId(17))
        assert (refused.value.status, refused.value.code) == (404, "event_not_found")
