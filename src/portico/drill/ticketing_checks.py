"""The invariants for places, bookings, tickets and money, checked in the databases of the services."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import select

from portico.contracts.bookings import SoldPlace
from portico.drill.buyers import SEATS_PER_USER
from portico.drill.databases import PAYMENTS, DrillDatabases
from portico.drill.event_checks import check_handled
from portico.drill.ticketing_event_checks import SHOWS, check_index, check_mails, check_published
from portico.drill.ticketing_queue_checks import HOLDS, SEATING, SeenWaits, check_order
from portico.kit.data import Reader
from portico.kit.foundation.clock import Clock
from portico.services.bookings.models import Booking
from portico.services.bookings.tickets.models import Ticket
from portico.services.payments.simulated_provider.models import SimulatedCharge
from portico.services.seating.hall.places import Counts, Places
from portico.services.seating.holds.domain import HOLDING
from portico.services.seating.holds.repository import hold_of, rows_with_places
from portico.services.seating.reconciliation.domain import mismatches
from portico.services.seating.repository import COUNTS_OF_SHOW, layout_of, states_of

BOOKINGS: Any = Booking.__table__
TICKETS: Any = Ticket.__table__
CHARGES: Any = SimulatedCharge.__table__

_LIVE = {"VALID", "USED"}


class TicketingDatabases(DrillDatabases):
    """The databases of a ticketing system."""

    async def pending_of_system(self) -> dict[str, int]:
        return {
            "bookings": await self.count("bookings", BOOKINGS, BOOKINGS.c.status == "PENDING"),
            "holds": await self.count(SEATING, HOLDS, HOLDS.c.status.in_(HOLDING)),
        }


async def check_all(databases: DrillDatabases, acknowledged: Mapping[str, str], waits: SeenWaits) -> None:
    """Check every invariant.

    Args:
        databases: the databases.
        acknowledged: the ids of acknowledged bookings, by idempotency key.
        waits: what buyers saw of the waiting list.
    """
    bookings = {str(row.booking_id): row for row in await databases.rows("bookings", select(BOOKINGS))}
    tickets = await databases.rows("bookings", select(TICKETS))
    _check_bookings(databases, bookings, acknowledged)
    await _check_places(databases, bookings, tickets)
    await _check_money(databases, bookings, tickets)
    await check_order(databases, waits, limit=SEATS_PER_USER)
    await check_published(databases, bookings.values(), tickets)
    await check_mails(databases)
    await check_index(databases)
    await check_handled(databases)


def _check_bookings(databases: DrillDatabases, bookings: Mapping[str, Any], acknowledged: Mapping[str, str]) -> None:
    invariant = "every booking has an outcome"
    databases.count_checked(invariant, len(bookings))
    for booking in bookings.values():
        if booking.status == "PENDING":
            databases.report_breach(invariant, "the booking is still PENDING", booking.booking_id)
    invariant = "every acknowledged booking exists, once"
    databases.count_checked(invariant, len(acknowledged))
    for booking_id in acknowledged.values():
        if booking_id not in bookings:
            databases.report_breach(invariant, "the booking was acknowledged, and does not exist", booking_id)
    for booking_id in bookings.keys() - set(acknowledged.values()):
        databases.report_breach(invariant, "a repeated request made two bookings", booking_id)


async def _check_places(databases: DrillDatabases, bookings: Mapping[str, Any], tickets: list[Any]) -> None:
    invariant = "no place has two holders, and each sold place has one live ticket of a confirmed booking"
    live = [each for each in tickets if each.status in _LIVE]
    databases.count_checked(invariant, len(live))
    for ticket in live:
        status = bookings[str(ticket.booking_id)].status
        if status != "CONFIRMED":
            databases.report_breach(invariant, f"a ticket is live, and its booking is {status}", ticket.booking_id)
    for show in await databases.rows("events", select(SHOWS.c.event_id)):
        sold = [
            SoldPlace(
                ticket_id=each.ticket_id,
                booking_id=each.booking_id,
                hold_id=bookings[str(each.booking_id)].hold_id,
                section=each.section,
                seat_id=each.seat_id,
            )
            for each in live
            if each.event_id == show.event_id
        ]
        await _check_hall(databases, show.event_id, sold)
    invariant = "no user has more places than the limit"
    numbers = Counter(str(bookings[str(each.booking_id)].user_id) for each in live)
    databases.count_checked(invariant, len(numbers))
    for user_id, number in numbers.items():
        if number > SEATS_PER_USER:
            databases.report_breach(invariant, f"{user_id} has {number} places")


async def _check_hall(databases: DrillDatabases, show_id: Any, sold: list[SoldPlace]) -> None:
    """Compare the states of the places with the holds and the live tickets."""
    invariant = "the states of places are those of holds and tickets"
    async with Reader(databases.databases[SEATING], Clock()) as reader:
        sections = await reader.rows(COUNTS_OF_SHOW, {"show_id": show_id})
        states = await states_of(reader, show_id)
        holds = [hold_of(row) for row in await rows_with_places(reader, show_id)]
    places = Places.load(layout_of(sections, sections[0].currency), states)
    stored = {
        row.number: Counts(row.total - row.held - row.sold - row.blocked, row.held, row.sold, row.blocked)
        for row in sections
    }
    databases.count_checked(invariant, places.layout.places)
    for found in mismatches(places, stored, holds, sold):
        databases.report_breach(
            invariant, f"{found.kind} of {found.place}: expected {found.expected}, found {found.found}"
        )
    if held := places.counts().held:
        databases.report_breach(invariant, f"{held} places are still held")


async def _check_money(databases: DrillDatabases, bookings: Mapping[str, Any], tickets: list[Any]) -> None:
    invariant = "the money kept is the price of the live tickets"
    due: Counter[str] = Counter()
    for ticket in tickets:
        if ticket.status in _LIVE:
            due[str(ticket.booking_id)] += ticket.price_minor
    charged = PAYMENTS.c.charged_at.is_not(None)
    payments = await databases.rows("payments", select(PAYMENTS).where(charged))
    charges = await databases.rows("payments", select(CHARGES).where(CHARGES.c.status == "succeeded"))
    kept = {
        "payments": _remaining((each.booking_id, each) for each in payments),
        "the provider": _remaining((each.reference, each) for each in charges),
    }
    databases.count_checked(invariant, len(bookings))
    for booking_id in bookings:
        for who, amounts in kept.items():
            if (amount := amounts[booking_id]) != due[booking_id]:
                message = f"{who} keeps {amount}, the live tickets cost {due[booking_id]}"
                databases.report_breach(invariant, message, booking_id)
    invariant = "no booking is charged twice"
    databases.count_checked(invariant, len(charges))
    for booking_id, number in Counter(str(charge.reference) for charge in charges).items():
        if number > 1:
            databases.report_breach(invariant, f"the provider charged it {number} times", booking_id)


def _remaining(rows: Iterable[tuple[Any, Any]]) -> Counter[str]:
    """Return what remains of charges after refunds, in minor units, by booking."""
    found: Counter[str] = Counter()
    for booking_id, row in rows:
        found[str(booking_id)] += row.amount_minor - row.refunded_minor
    return found
