"""Bookings with tickets, and the people who hold them."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from tests.services.bookings.support import BookingsService, booking_of, place

from portico.contracts.bookings import BookingId
from portico.contracts.identity import UserCreated
from portico.kit import UnitOfWork, UserId
from portico.services.bookings.domain import Place
from portico.services.bookings.models import Booking
from portico.services.bookings.tickets import service as tickets
from portico.testing.running_service import Answer, Caller

LONG = 10_000_000  # seconds


@dataclass(frozen=True)
class Person:
    """A user, as a caller of bookings."""

    user_id: UserId
    email: str
    caller: Caller

    async def tickets(self) -> list[dict[str, Any]]:
        """Return the tickets that the person holds, oldest first."""
        answer = await self.caller.get("/tickets")
        assert answer.status_code == 200, answer.content
        found: list[dict[str, Any]] = answer.json()["tickets"]
        return sorted(found, key=lambda ticket: str(ticket["ticket_id"]))

    async def offer(self, ticket_id: str, to: str) -> Answer:
        """Offer a ticket to an address."""
        return await self.caller.post(f"/tickets/{ticket_id}/transfer", json={"email": to})

    async def accept(self, transfer_id: str) -> Answer:
        """Accept an offered ticket."""
        return await self.caller.post(f"/transfers/{transfer_id}/accept")


async def person(bookings: BookingsService, name: str = "Ada") -> Person:
    """Return a new user whose account bookings knows."""
    found = stranger(bookings, name)
    await bookings.run.receives(UserCreated(user_id=found.user_id, email=found.email, name=name))
    return found


def stranger(bookings: BookingsService, name: str = "Sam") -> Person:
    """Return a new user whose account bookings does not know yet."""
    user_id = UserId.new()
    token = bookings.run.issuer.token(user_id, lasting=LONG)
    return Person(user_id, f"{name}@Example.com", bookings.run.bearing(token))


async def issue(bookings: BookingsService, user_id: UserId, *places: Place, **members: Any) -> Booking:
    """Store a confirmed booking of these places (one seat by default), and issue its tickets."""
    booking: Booking = await bookings.run.given(booking_of(bookings.run, *places, user_id=user_id, **members))
    await issue_again(bookings, booking.booking_id)
    return booking


async def transferred(bookings: BookingsService, ada: Person, bob: Person) -> dict[str, Any]:
    """Let Ada book two seats of the venue's show and give one ticket to Bob; return it."""
    await issue(bookings, ada.user_id, place(), place("1-A-13"), event_id=bookings.venue.show_id)
    ticket = (await ada.tickets())[0]
    offer = await ada.offer(ticket["ticket_id"], bob.email)
    assert (await bob.accept(offer.json()["transfer_id"])).status_code == 200
    return ticket


async def issue_again(bookings: BookingsService, booking_id: BookingId) -> None:
    """Issue the tickets of a booking, as the saga does."""
    await bookings.run.context.transact(partial(_issue, booking_id=booking_id))


async def void(bookings: BookingsService, booking_id: BookingId, ticket_ids: Any = None, **options: bool) -> list[str]:
    """Void tickets of a booking, as its cancellation does; return the ids of those that were not void before."""
    return await bookings.run.context.transact(
        partial(_void, booking_id=booking_id, ticket_ids=ticket_ids, options=options)
    )


async def _issue(work: UnitOfWork, *, booking_id: BookingId) -> None:
    booking = await work.get(Booking, booking_id, lock=True)
    assert booking is not None
    await tickets.issue(work, booking)


async def _void(work: UnitOfWork, *, booking_id: BookingId, ticket_ids: Any, options: dict[str, bool]) -> list[str]:
    booking = await work.get(Booking, booking_id, lock=True)
    assert booking is not None
    return [ticket.ticket_id for ticket in await tickets.void(work, booking, ticket_ids, **options)]
