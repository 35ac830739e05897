"""The invariants for the events, mails and the index of ticketing."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from sqlalchemy import select

from portico.contracts.bookings import (
    BookingCancelled,
    BookingConfirmed,
    BookingCreated,
    BookingExpired,
    BookingFailed,
    TicketCancelled,
    TicketCheckedIn,
    TicketIssued,
)
from portico.contracts.payments import BookingPaymentFailed, BookingPaymentProcessed, BookingPaymentRefunded
from portico.contracts.seating import SeatsHeld, SeatsReleased, SeatsSold, WaitlistLapsed, WaitlistOffered
from portico.drill.databases import MAILS, PAYMENTS, DrillDatabases
from portico.drill.event_checks import TRANSACTIONS, EventCounts
from portico.drill.ticketing_queue_checks import ENTRIES, HOLDS, SEATING
from portico.kit.data.kit_tables import event_log
from portico.kit.messaging.event import Event
from portico.services.events.models import Show
from portico.services.notifications.domain import TICKETING_MAILS
from portico.services.search.models import SHOWS as INDEXED
from portico.services.search.models import IndexState, ShowDocument

SHOWS: Any = Show.__table__
DOCUMENTS: Any = ShowDocument.__table__
INDEX_STATE: Any = IndexState.__table__

_CHECKED = {
    kind.event_type
    for kind in (
        *(BookingCreated, BookingConfirmed, BookingCancelled, BookingFailed, BookingExpired),
        *(TicketIssued, TicketCancelled, TicketCheckedIn),
        *(SeatsHeld, SeatsSold, SeatsReleased, WaitlistOffered, WaitlistLapsed),
        *(BookingPaymentProcessed, BookingPaymentFailed, BookingPaymentRefunded),
    )
}
_EVENT_OF_A_TRANSACTION: Mapping[str, type[Event]] = {
    "charge": BookingPaymentProcessed,
    "refund": BookingPaymentRefunded,
}
_MAILED: Mapping[str, Iterable[type[Event]]] = {
    "bookings": (BookingConfirmed, BookingCancelled),
    "payments": (BookingPaymentRefunded,),
    SEATING: (WaitlistOffered,),
}
"""The events that cause a mail, by the service that publishes them."""


class _Expected:
    """How often each event must have been published, by type and aggregate."""

    def __init__(self) -> None:
        self.counts: EventCounts = Counter()

    def add(self, kind: type[Event], aggregate: object, number: int = 1) -> None:
        """Expect an event once more, or `number` times more."""
        self.counts[kind.event_type, str(aggregate)] += number

    def add_booking(self, booking: Any, *, is_cancelled: bool) -> None:
        """Expect the events of a booking. `is_cancelled` means in whole or in part."""
        self.add(BookingCreated, booking.booking_id)
        self.add(BookingConfirmed, booking.booking_id, booking.confirmed_at is not None)
        self.add(BookingFailed, booking.booking_id, booking.status == "FAILED")
        self.add(BookingExpired, booking.booking_id, booking.status == "EXPIRED")
        self.add(BookingCancelled, booking.booking_id, is_cancelled)

    def add_ticket(self, ticket: Any) -> None:
        """Expect the events of a ticket."""
        self.add(TicketIssued, ticket.ticket_id)
        self.add(TicketCancelled, ticket.ticket_id, ticket.status == "CANCELLED")
        self.add(TicketCheckedIn, ticket.ticket_id, ticket.checked_in_at is not None)

    def add_hold(self, hold: Any) -> None:
        """Expect the events of a hold."""
        self.add(SeatsHeld, hold.hold_id)
        self.add(SeatsSold, hold.hold_id, hold.status == "SOLD")
        was_returned = any(place[-1] for place in hold.places)
        self.add(SeatsReleased, hold.hold_id, was_returned or hold.status in {"RELEASED", "EXPIRED"})

    def add_entry(self, entry: Any) -> None:
        """Expect the events of an entry in the waiting list."""
        had_offer = entry.hold_id is not None
        self.add(WaitlistOffered, entry.entry_id, had_offer)
        self.add(WaitlistLapsed, entry.entry_id, had_offer and entry.status == "LAPSED")


async def check_published(databases: DrillDatabases, bookings: Iterable[Any], tickets: Collection[Any]) -> None:
    """Check that each change was published once. A booking is cancelled at most once in a drill."""
    invariant = "each change of a booking, ticket, hold, offer or payment is published once"
    expected = _Expected()
    cancelled = {each.booking_id for each in tickets if each.status == "CANCELLED"}
    for booking in bookings:
        expected.add_booking(booking, is_cancelled=booking.booking_id in cancelled)
    for ticket in tickets:
        expected.add_ticket(ticket)
    for hold in await databases.rows(SEATING, select(HOLDS)):
        expected.add_hold(hold)
    for entry in await databases.rows(SEATING, select(ENTRIES)):
        expected.add_entry(entry)
    for transaction in await databases.rows("payments", select(TRANSACTIONS)):
        expected.add(_EVENT_OF_A_TRANSACTION[transaction.kind], transaction.payment_id)
    for payment in await databases.rows("payments", select(PAYMENTS).where(PAYMENTS.c.status == "failed")):
        expected.add(BookingPaymentFailed, payment.payment_id)
    published: EventCounts = Counter()
    for service in ("bookings", SEATING, "payments"):
        rows = await databases.rows(service, select(event_log.c.type, event_log.c.aggregate))
        published.update((row.type, row.aggregate) for row in rows if row.type in _CHECKED)
    databases.count_checked(invariant, expected.counts.total())
    for kind, aggregate in expected.counts.keys() | published.keys():
        found, wanted = published[kind, aggregate], expected.counts[kind, aggregate]
        if found != wanted:
            subject = aggregate if kind.startswith("booking.") else None
            databases.report_breach(
                invariant, f"{kind} of {aggregate} was published {found} times, not {wanted}", subject
            )


async def check_mails(databases: DrillDatabases) -> None:
    """Check that buyers received a mail for each confirmation, cancellation, refund and offer."""
    invariant = "each mail about a booking, a refund or an offer is sent once"
    due: dict[tuple[str, str], str] = {}
    for service, kinds in _MAILED.items():
        templates = {kind.event_type: TICKETING_MAILS[kind] for kind in kinds}  # type: ignore[index]  # a mapping of classes
        wanted = select(event_log.c.type, event_log.c.event_id, event_log.c.aggregate)
        for event in await databases.rows(service, wanted.where(event_log.c.type.in_(templates))):
            due[templates[event.type], str(event.event_id)] = event.aggregate
    queued: EventCounts = Counter()
    for mail in await databases.rows("notifications", select(MAILS).where(MAILS.c.order_id.is_(None))):
        queued[mail.template, str(mail.cause)] += 1
        is_outdated = mail.template == TICKETING_MAILS[WaitlistOffered] and mail.failure_reason == "unsendable"
        if mail.status != "sent" and not is_outdated:
            databases.report_breach(invariant, f"the mail {mail.template} is {mail.status}", mail.booking_id)
    databases.count_checked(invariant, len(due))
    for (template, cause), aggregate in due.items():
        if (number := queued[template, cause]) != 1:
            databases.report_breach(
                invariant, f"the mail {template} to {aggregate} was queued {number} times", aggregate
            )
    for template, cause in queued.keys() - due.keys():
        databases.report_breach(invariant, f"the mail {template} of {cause} was queued without a cause")


async def check_index(databases: DrillDatabases) -> None:
    """Check that the documents of search, and the index that is searched, are those of the shows."""
    invariant = "the index of search equals the shows"
    shows = await databases.rows("events", select(SHOWS))
    documents = {row.show_id: row for row in await databases.rows("search", select(DOCUMENTS))}
    [(live,)] = await databases.rows("search", select(INDEX_STATE.c.live))
    indexed = {row.show_id: row for row in await databases.rows("search", select(INDEXED[live]))}
    databases.count_checked(invariant, len(shows))
    for show in shows:
        document = documents.get(show.event_id)
        if document is None or document.event_revision != show.revision:
            seen = None if document is None else document.event_revision
            databases.report_breach(invariant, f"{show.event_id} has revision {show.revision}, search has {seen}")
            continue
        for name in ("event_name", "venue_name", "status", "description"):
            if document.data[name] != getattr(show, name):
                databases.report_breach(invariant, f"{show.event_id} has another {name} in search")
        row = indexed.get(show.event_id)
        if row is None or (row.fingerprint, row.status) != (document.fingerprint, show.status):
            found = "is missing" if row is None else "is outdated"
            databases.report_breach(invariant, f"{show.event_id} {found} in the live index")
    for show_id in indexed.keys() - {show.event_id for show in shows}:
        databases.report_breach(invariant, f"the live index has {show_id}, which does not exist")
