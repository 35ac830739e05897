"""The seating service under test, fed with the events of shows."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import select

from portico.contracts.bookings import BookingId
from portico.contracts.events import SectionPlan, ShowCreated, ShowDeleted, ShowId, ShowStatusChanged, ShowUpdated
from portico.services.seating import service
from portico.services.seating.holds.expiry import HoldExpiry
from portico.services.seating.holds.repository import HOLDS
from portico.testing.databases import Databases
from portico.testing.running_service import Answer, Caller, RunningService, run_service

STALLS = SectionPlan(name="Stalls", rows=2, seats_per_row=5, price=Decimal(80), accessible=("A-1",))
BALCONY = SectionPlan(name="Balcony", rows=1, seats_per_row=4)
FLOOR = SectionPlan(name="Floor", capacity=10)
BOOKING = BookingId.new()
HALL = (STALLS, BALCONY, FLOOR)
"""Twenty-four places: two rows of five with an accessible seat, one row of four, ten standing."""


@dataclass
class SeatingService:
    """The seating service under test. `shows` are the newest events of the shows, by id."""

    run: RunningService
    shows: dict[ShowId, Any] = field(default_factory=dict)

    async def show(self, sections: tuple[SectionPlan, ...] = HALL, **members: Any) -> ShowId:
        """Deliver the event of a new show, which is on sale."""
        event = self.event(ShowCreated, sections=sections, **members)
        await self.run.receives(event)
        self.shows[event.event_id] = event
        return ShowId(event.event_id)

    def event(self, kind: Any, **members: Any) -> Any:
        """Return an event with the complete state of a show."""
        date = self.run.clock.now() + timedelta(days=30)
        sections = members.get("sections", HALL)
        usual: dict[str, Any] = {
            "event_id": ShowId.new(),
            "event_name": "Queen",
            "event_date": date,
            "venue_name": "Wembley Arena",
            "time_zone": "UTC",
            "total_seats": sum(each.places for each in sections),
            "status": "ON_SALE",
            "sold_out_by_hand": False,
            "sale_start_time": None,
            "sale_end_time": date,
            "price": Decimal("49.50"),
            "currency": "USD",
            "description": None,
            "category": None,
            "sections": sections,
            "max_seats_per_user": None,
            "orphan_rule": "AVOID",
            "waiting_room": "OFF",
            "cancellable_until": date,
            "refund_percent": 100,
            "full_refund_until": None,
            "revision": 1,
        }
        if kind is ShowUpdated:
            usual["is_rescheduled"] = False
        if kind is ShowStatusChanged:
            usual["previous_status"] = "UPCOMING"
        return kind(**usual | members)

    async def change(self, show_id: ShowId, kind: Any = ShowUpdated, **members: Any) -> None:
        """Deliver the event of a changed show."""
        before = self.shows[show_id]
        state = {name: getattr(before, name) for name in ShowCreated.model_fields}
        event = self.event(kind, **state | {"revision": before.revision + 1} | members)
        await self.run.receives(event)
        self.shows[show_id] = event

    async def delete(self, show_id: ShowId) -> None:
        """Deliver the event of a deleted show."""
        event = self.shows.pop(show_id)
        await self.run.receives(self.event(ShowDeleted, event_id=show_id, revision=event.revision + 1))

    async def counts(self, show_id: ShowId) -> tuple[int, int, int, int]:
        """Return how many places are available, held, sold and blocked. They add up to the total, in each section too."""
        answer = await self.run.anonymous.get(f"/inventory/{show_id}")
        assert answer.status_code == 200, answer.content
        found = answer.json()
        names = ("available", "held", "sold", "blocked")
        assert found["total_seats"] == sum(found[name] for name in names)
        for section in found["sections"]:
            assert section["total"] == sum(section[name] for name in names)
        return tuple(found[name] for name in names)  # type: ignore[return-value]  # of four names

    async def seat_map(self, show_id: ShowId) -> dict[str, Any]:
        """Return the map of a show's seats."""
        answer = await self.run.anonymous.get(f"/inventory/{show_id}/seats")
        assert answer.status_code == 200, answer.content
        found: dict[str, Any] = answer.json()
        return found

    async def rows(self, show_id: ShowId) -> list[str]:
        """Return the states of the seats, row by row."""
        sections = (await self.seat_map(show_id))["sections"]
        return [row["states"] for section in sections for row in section.get("rows", ())]

    async def hold(
        self, show_id: ShowId, quantity: int | None = None, *, user: str | None = None, **wanted: Any
    ) -> Answer:
        """Hold places for a user; a new one unless `user` is given."""
        body = {**({} if quantity is None else {"quantity": quantity}), **wanted}
        return await self.run.as_user(subject=user).post(f"/inventory/{show_id}/holds", json=body)

    async def given_hold(self, show_id: ShowId, quantity: int | None = None, **wanted: Any) -> dict[str, Any]:
        """Hold places, and return the hold."""
        answer = await self.hold(show_id, quantity, **wanted)
        assert answer.status_code == 201, answer.content
        found: dict[str, Any] = answer.json()
        return found

    async def put(self, hold: dict[str, Any], change: str, **body: Any) -> Answer:
        """Send the request of bookings to `claim`, `release` or sell (`sale`) a hold, or to `return` places."""
        path = f"/inventory/{hold['event_id']}/holds/{hold['hold_id']}/{change}"
        return await self.run.as_service("bookings").put(path, json={"booking_id": BOOKING, **body})

    async def sell(self, hold: dict[str, Any]) -> None:
        """Claim a hold and sell it."""
        for change, body in (("claim", {"user_id": hold["user_id"]}), ("sale", {})):
            answer = await self.put(hold, change, **body)
            assert answer.status_code == 200, answer.content

    async def end_due_holds(self) -> int:
        """Free the places of holds whose time is over, as the service does by itself."""
        return await self.run.context.resource(HoldExpiry).run_due()

    @property
    def events_service(self) -> Caller:
        """The service that owns shows."""
        return self.run.as_service("events")

    async def put_layout(
        self, show_id: ShowId, *sections: SectionPlan, revision: int = 2, price: float = 49.5, currency: str = "USD"
    ) -> Answer:
        plans = [each.model_dump(mode="json") for each in sections]
        body = {"sections": plans, "price": price, "currency": currency, "revision": revision}
        return await self.events_service.put(f"/inventory/{show_id}/layout", json=body)


@asynccontextmanager
async def open_seating(
    databases: Databases, *, background: bool = False, **variables: str
) -> AsyncIterator[SeatingService]:
    """Run seating without shows."""
    async with run_service(service, databases, variables=variables, background=background) as run:
        yield SeatingService(run)


async def assert_consistent(seating: SeatingService, show_id: ShowId) -> None:
    """Check that counts, states and holds of a show agree, and that no seat has two holders."""
    counts = await seating.counts(show_id)
    async with seating.run.context.reader() as reader:
        rows = await reader.rows(select(*HOLDS.c).where(HOLDS.c.show_id == show_id, HOLDS.c.used > 0))
    letters = {"ACTIVE": "H", "CLAIMED": "H", "SOLD": "S"}
    holders = [(place[0], letters[row.status]) for row in rows for place in row.places if not place[6]]
    seats = {seat_id: letter for seat_id, letter in holders if seat_id is not None}
    assert len(seats) == sum(seat_id is not None for seat_id, _ in holders), "a seat has two holders"
    shown = {
        f"{section['number']}-{row['row']}-{number}": state
        for section in (await seating.seat_map(show_id))["sections"]
        for row in section.get("rows", ())
        for number, state in enumerate(row["states"], 1)
        if state in "HS"
    }
    assert shown == seats
    assert [sum(letter == state for _, letter in holders) for state in "HS"] == list(counts[1:3])
