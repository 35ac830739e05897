"""Bookings, tickets, a transfer and a check-in for the generated requests to bookings."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.services.bookings.check_ins.support import gate
from tests.services.bookings.support import open_bookings, place
from tests.services.bookings.tickets.support import LONG, issue, person
from tests.services.search.support import show_event

from portico.testing.databases import Databases
from portico.testing.fuzzing import Fuzzing


@asynccontextmanager
async def open_for_fuzzing(databases: Databases, _folder: Path) -> AsyncIterator[Fuzzing]:
    """Run bookings with a person who has three tickets, one offered and one used, and two bookings that are being paid."""
    async with open_bookings(databases) as bookings:
        ada = await person(bookings)
        booking = await issue(bookings, ada.user_id, *(place(f"1-A-{number}") for number in range(1, 4)))
        offered, used, free = await ada.tickets()
        transfer = (await ada.offer(offered["ticket_id"], "bob@example.com")).json()
        await bookings.run.receives(show_event(event_id=booking.event_id))
        made = [(await bookings.book())["booking_id"] for _ in range(2)]
        check_in = (await gate(bookings).scan(used["code"])).json()
        token = bookings.run.issuer.token
        bearers = [
            token(ada.user_id, permissions=["*"], lasting=LONG),
            token("service:seating", permissions=["*"], lasting=LONG),
            None,
        ]
        known = {
            "booking_id": [booking.booking_id, *made],
            "event_id": [booking.event_id],
            "ticket_id": [free["ticket_id"], used["ticket_id"], offered["ticket_id"]],
            "transfer_id": [transfer["transfer_id"]],
            "check_in_id": [check_in["check_in_id"]],
        }
        yield Fuzzing(bookings.run, bearers, known=known)
