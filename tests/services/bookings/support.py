"""The bookings service under test."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tests.services.bookings.venue import Venue

from portico.contracts.events import ShowId
from portico.contracts.seating import HoldId
from portico.kit import UserId
from portico.kit.sagas.runner import SagaRunner
from portico.services.bookings import service
from portico.services.bookings.domain import Place
from portico.services.bookings.models import Booking
from portico.testing.databases import Databases
from portico.testing.running_service import Answer, Caller, RunningService, run_service


def place(seat_id: str | None = "1-A-12", *, section: str = "Stalls", price_minor: int = 4950) -> Place:
    """Return a place as a booking stores it; a standing one without `seat_id`."""
    _, row, number = seat_id.split("-") if seat_id else (None, None, None)
    return Place(section=section, seat_id=seat_id, row=row, number=number and int(number), price_minor=price_minor)


def booking_of(run: RunningService, *places: Place, **members: Any) -> Booking:
    """Return a booking that is not stored, confirmed and with one seat unless something else is said."""
    held = list(places) or [place()]
    now = run.clock.now()
    usual: dict[str, Any] = {
        "event_id": ShowId.new(),
        "user_id": UserId.new(),
        "hold_id": HoldId.new(),
        "is_own_hold": False,
        "status": "CONFIRMED",
        "places": held,
        "quantity": len(held),
        "currency": "USD",
        "amount_minor": sum(each["price_minor"] for each in held),
        "discount_minor": 0,
        "refunded_minor": 0,
        "payment_method": "pm_ok",
        "created_at": now,
        "confirmed_at": now,
        "updated_at": now,
    }
    return Booking(**usual | members)


@dataclass
class BookingsService:
    """The bookings service under test, with the simulated services. The test runs the sagas."""

    run: RunningService
    venue: Venue

    def __post_init__(self) -> None:
        self.runner = SagaRunner(
            self.run.context,
            self.run.context.service.sagas,
            database=self.run.context.database,
            tracing=self.run.context.tracing,
            health=self.run.context.health,
            draw=lambda: 1.0,
        )

    def as_user(self, *permissions: str, subject: str | None = None) -> Caller:
        return self.run.as_user(*permissions, subject=subject)

    @property
    def staff(self) -> Caller:
        return self.run.as_user("bookings:read", "bookings:write")

    async def try_to_book(
        self, *, by: Caller | None = None, headers: Mapping[str, str] | None = None, **body: Any
    ) -> Answer:
        """Send a request for a booking; of one place by default."""
        wanted = body if {"hold_id", "quantity", "seats"} & body.keys() else {"quantity": 1, **body}
        whole = {"event_id": self.venue.show_id, "payment_method": "pm_ok", **wanted}
        caller = by or self.as_user()
        return await caller.post("/bookings", json=whole, headers=headers)

    async def book(self, **options: Any) -> dict[str, Any]:
        """Make a booking and return it."""
        answer = await self.try_to_book(**options)
        assert answer.status_code == 201, answer.content
        booking: dict[str, Any] = answer.json()
        return booking

    async def book_and_confirm(self, **options: Any) -> dict[str, Any]:
        """Make a booking, run its saga and return the confirmed booking."""
        booking = await self.book(**options)
        await self.runner.run_due()
        booking = await self.read(booking["booking_id"])
        assert booking["status"] == "CONFIRMED", booking
        return booking

    async def read(self, booking_id: str) -> dict[str, Any]:
        answer = await self.staff.get(f"/bookings/{booking_id}")
        assert answer.status_code == 200, answer.content
        booking: dict[str, Any] = answer.json()
        return booking

    async def advance(self, seconds: float, *, times: int = 1) -> None:
        """Advance the clock and run due sagas, repeatedly."""
        for _ in range(times):
            self.run.clock.advance(seconds)
            await self.runner.run_due()

    async def tickets(self, booking_id: str) -> list[dict[str, Any]]:
        """Return the tickets of a booking."""
        answer = await self.staff.get(f"/bookings/{booking_id}/tickets")
        assert answer.status_code == 200, answer.content
        found: list[dict[str, Any]] = answer.json()["tickets"]
        return found

    async def published_for(self, booking_id: str) -> list[str]:
        """Return the types of the published events of a booking itself."""
        events: list[Any] = await self.run.published()
        return [event.event_type for event in events if event.aggregate_id == booking_id]


@asynccontextmanager
async def open_bookings(
    databases: Databases, *, background: bool = False, variables: Mapping[str, str] | None = None
) -> AsyncIterator[BookingsService]:
    """Run bookings without any booking."""
    venue = Venue()
    async with run_service(service, databases, channel=venue, background=background, variables=variables) as run:
        yield BookingsService(run, venue)
