"""The bookings service under test."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from portico.contracts.events import ShowId
from portico.contracts.seating import HoldId
from portico.kit import UserId
from portico.services.bookings import service
from portico.services.bookings.models import Booking, Place
from portico.testing.databases import Databases
from portico.testing.running_service import Caller, RunningService, run_service


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
    """The bookings service under test."""

    run: RunningService

    def as_user(self, *permissions: str, subject: str | None = None) -> Caller:
        return self.run.as_user(*permissions, subject=subject)

    @property
    def staff(self) -> Caller:
        return self.run.as_user("bookings:read", "bookings:write")


@asynccontextmanager
async def open_bookings(databases: Databases) -> AsyncIterator[BookingsService]:
    """Run bookings without background work and without any booking."""
    async with run_service(service, databases, background=False) as run:
        yield BookingsService(run)
