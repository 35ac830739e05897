"""Reads what is compared. Nothing is changed."""

import asyncio
from itertools import islice

from portico.contracts.bookings import BookingsClient, SoldPlace, TicketId
from portico.contracts.events import ShowId
from portico.kit import Reader, ServiceContext
from portico.services.seating.errors import EventNotFound
from portico.services.seating.hall.places import Counts, Places
from portico.services.seating.holds.domain import Hold
from portico.services.seating.holds.repository import hold_of, rows_with_places
from portico.services.seating.reconciliation.domain import Mismatch, mismatches
from portico.services.seating.repository import COUNTS_OF_SHOW, layout_of, states_of

_BATCH = 1_000


async def reconcile(context: ServiceContext, reader: Reader, show_id: ShowId, *, limit: int) -> list[Mismatch]:
    """Return the first mismatches of a show. Raises EventNotFound.

    Tickets are read after the places, so that a ticket that is issued meanwhile is found.
    """
    async with reader.snapshot() as snapshot:
        sections = await snapshot.rows(COUNTS_OF_SHOW, {"show_id": show_id})
        if not sections:
            raise EventNotFound(event_id=show_id)
        states = await states_of(snapshot, show_id)
        rows = await rows_with_places(snapshot, show_id)
    tickets = await _live_tickets(context, show_id) if "bookings" in context.system.services else None

    def compare() -> list[Mismatch]:
        places = Places.load(layout_of(sections, sections[0].currency), states)
        stored = {
            row.number: Counts(row.total - row.held - row.sold - row.blocked, row.held, row.sold, row.blocked)
            for row in sections
        }
        holds: list[Hold] = [hold_of(row) for row in rows]
        return list(islice(mismatches(places, stored, holds, tickets), limit))

    return await asyncio.to_thread(compare)


async def _live_tickets(context: ServiceContext, show_id: ShowId) -> list[SoldPlace]:
    client = context.calls()(BookingsClient)
    found: list[SoldPlace] = []
    after: TicketId | None = None
    while True:
        page = await client.sold_places(show_id, after=after, limit=_BATCH)
        found += page
        if len(page) < _BATCH:
            return found
        after = page[-1].ticket_id
