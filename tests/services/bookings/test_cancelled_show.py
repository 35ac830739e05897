"""A cancelled show: every booking is refunded in full, every ticket is void, every place is returned."""

from typing import Any

import pytest
from sqlalchemy import update
from tests.services.bookings.support import BookingsService
from tests.services.bookings.tickets.support import person, transferred
from tests.services.search.support import show_event

from portico.contracts.bookings import BookingCancelled, TicketCancelled
from portico.contracts.events import ShowCreated, ShowDeleted, ShowStatusChanged, ShowUpdated
from portico.services.bookings import show_cancellation
from portico.services.bookings.models import Booking, Show
from portico.services.bookings.tickets.models import Ticket


async def cancel_show(bookings: BookingsService, revision: int = 5, **members: Any) -> None:
    """Deliver the event that the show is cancelled."""
    await bookings.run.receives(
        show_event(
            ShowStatusChanged,
            event_id=bookings.venue.show_id,
            status="CANCELLED",
            previous_status="ON_SALE",
            revision=revision,
            **members,
        )
    )


class TestCancelShow:
    async def test_refunds_in_full_voids_tickets_and_returns_places(self, bookings: BookingsService) -> None:
        await bookings.run.receives(show_event(event_id=bookings.venue.show_id, refund_percent=50))
        first, second = await bookings.book_and_confirm(quantity=2), await bookings.book_and_confirm()

        await cancel_show(bookings, refund_percent=50)
        await bookings.runner.run_due()

        for booking in (first, second):
            cancelled = await bookings.read(booking["booking_id"])
            assert (cancelled["status"], cancelled["refunded"]) == ("CANCELLED", booking["amount"])
            assert cancelled["cancelled_at"] is not None
            tickets = await bookings.tickets(booking["booking_id"])
            assert {each["status"] for each in tickets} == {"CANCELLED"}
        assert (bookings.venue.net_paid(), bookings.venue.sold) == (0, 0)
        events = [each for each in await bookings.run.published() if isinstance(each, BookingCancelled)]
        assert [(each.remaining, each.is_show_cancelled) for each in events] == [(0, True)] * 2

    async def test_names_who_holds_a_transferred_ticket(self, bookings: BookingsService) -> None:
        ada, bob = await person(bookings), await person(bookings, "Bob")
        ticket = await transferred(bookings, ada, bob)

        await cancel_show(bookings)
        await bookings.runner.run_due()

        events = [each for each in await bookings.run.published() if isinstance(each, TicketCancelled)]
        assert len(events) == 2
        holders = {each.ticket_id: each.holder_id for each in events}
        assert holders.pop(ticket["ticket_id"]) == bob.user_id
        assert set(holders.values()) == {None}

    async def test_voids_used_tickets_too(self, embedded: BookingsService) -> None:
        booking = await embedded.book_and_confirm()
        async with embedded.run.context.transaction() as work:
            await work.execute(update(Ticket).values(status="USED"))

        await cancel_show(embedded)
        await embedded.runner.run_due()

        assert [each["status"] for each in await embedded.tickets(booking["booking_id"])] == ["CANCELLED"]
        assert embedded.venue.net_paid() == 0

    async def test_takes_back_bookings_that_are_being_paid(self, bookings: BookingsService) -> None:
        booking = await bookings.book(payment_method="pm_slow")
        await bookings.runner.run_due()

        await cancel_show(bookings)
        await bookings.advance(5, times=3)

        failed = await bookings.read(booking["booking_id"])
        assert (failed["status"], failed["failure_reason"]) == ("FAILED", "event_cancelled")
        assert (bookings.venue.net_paid(), bookings.venue.held, bookings.venue.sold) == (0, 0, 0)

    async def test_charges_nothing_for_bookings_that_are_made_later(self, bookings: BookingsService) -> None:
        await cancel_show(bookings)
        booking = await bookings.book()

        await bookings.runner.run_due()

        failed = await bookings.read(booking["booking_id"])
        assert (failed["status"], failed["failure_reason"]) == ("FAILED", "event_cancelled")
        assert (bookings.venue.charges, bookings.venue.held) == ({}, 0)

    async def test_leaves_bookings_of_other_shows_alone(self, embedded: BookingsService) -> None:
        booking = await embedded.book_and_confirm()

        await embedded.run.receives(show_event(ShowStatusChanged, status="CANCELLED", previous_status="ON_SALE"))
        await embedded.runner.run_due()

        assert (await embedded.read(booking["booking_id"]))["status"] == "CONFIRMED"

    async def test_continues_after_a_batch(self, embedded: BookingsService, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(show_cancellation, "_BATCH", 2)
        for _ in range(5):
            await embedded.book_and_confirm()

        await cancel_show(embedded)
        for _ in range(4):
            await embedded.runner.run_due()

        async with embedded.run.context.reader() as reader:
            rows = await reader.rows(Booking.__table__.select())
        assert [row.status for row in rows] == ["CANCELLED"] * 5
        assert (embedded.venue.net_paid(), embedded.venue.sold) == (0, 0)

    async def test_refunds_once_however_often_calls_fail_or_events_come(self, embedded: BookingsService) -> None:
        embedded.venue.failures["refund"] += ["lost_after", "unavailable", "lost_before"]
        embedded.venue.failures["return"] += ["lost_after", "unavailable"]
        await embedded.book_and_confirm(quantity=2)

        await cancel_show(embedded)
        await cancel_show(embedded, revision=6)
        await embedded.advance(60, times=6)

        assert (embedded.venue.net_paid(), embedded.venue.sold, embedded.venue.free) == (0, 0, 10)

    async def test_refunds_what_is_left_after_a_refund_by_staff(self, embedded: BookingsService) -> None:
        booking = await embedded.book_and_confirm()
        embedded.venue.charges[f"booking:{booking['booking_id']}"].refunded = 10
        embedded.venue.failures["refund"] += ["lost_after"]

        await cancel_show(embedded)
        await embedded.advance(60, times=3)

        assert embedded.venue.net_paid() == 0


class TestShows:
    async def test_keeps_the_newest_state_and_forgets_a_deleted_show(self, bookings: BookingsService) -> None:
        show_id = bookings.venue.show_id
        created = show_event(ShowCreated, event_id=show_id, refund_percent=80)
        changed = show_event(ShowUpdated, event_id=show_id, refund_percent=50, revision=3, is_rescheduled=True)
        late = show_event(ShowUpdated, event_id=show_id, refund_percent=10, revision=2)

        await bookings.run.receives(created, changed, late)
        async with bookings.run.context.reader() as reader:
            show = await reader.get(Show, show_id)
            assert show is not None
            assert (show.refund_percent, show.event_revision) == (50, 3)

        await bookings.run.receives(show_event(ShowDeleted, event_id=show_id, revision=4))
        async with bookings.run.context.reader() as reader:
            assert await reader.get(Show, show_id) is None
