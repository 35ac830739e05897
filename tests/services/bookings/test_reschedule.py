"""A new date or venue of a show: an event for each confirmed booking."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.services.bookings.support import BookingsService
from tests.services.bookings.tickets.support import person, transferred
from tests.services.search.support import FIRST_NIGHT, show_event

from portico.contracts.bookings import BookingRescheduled, TicketRescheduled
from portico.contracts.events import ShowUpdated
from portico.services.bookings import reschedule

NEW_DATE = FIRST_NIGHT + timedelta(days=122)
FULL_REFUND_UNTIL = datetime(2026, 1, 19, 9, tzinfo=UTC)


async def change_show(bookings: BookingsService, **members: Any) -> None:
    """Deliver the event that the show has a new date."""
    usual = {"event_id": bookings.venue.show_id, "event_date": NEW_DATE, "revision": 5, "is_rescheduled": True}
    await bookings.run.receives(show_event(ShowUpdated, **usual | members))


async def announced(bookings: BookingsService) -> list[BookingRescheduled]:
    return [each for each in await bookings.run.published() if isinstance(each, BookingRescheduled)]


class TestReschedule:
    async def test_is_published_for_each_confirmed_booking(self, bookings: BookingsService) -> None:
        first, second = await bookings.book_and_confirm(quantity=2), await bookings.book_and_confirm()
        cancelled = await bookings.book_and_confirm()
        await bookings.run.receives(show_event(event_id=bookings.venue.show_id))
        await bookings.staff.post(f"/bookings/{cancelled['booking_id']}/cancel", json={})
        await bookings.runner.run_due()
        await bookings.book(payment_method="pm_slow")

        await change_show(bookings, full_refund_until=FULL_REFUND_UNTIL)
        await bookings.runner.run_due()

        events = await announced(bookings)
        assert {each.booking_id for each in events} == {first["booking_id"], second["booking_id"]}
        assert {(each.show.event_date, each.show.venue_name) for each in events} == {(NEW_DATE, "Wembley Arena")}
        assert {each.show.full_refund_until for each in events} == {FULL_REFUND_UNTIL}

    async def test_is_published_for_each_ticket_that_another_user_holds(self, bookings: BookingsService) -> None:
        ada, bob = await person(bookings), await person(bookings, "Bob")
        ticket = await transferred(bookings, ada, bob)

        await change_show(bookings)
        await bookings.runner.run_due()

        (event,) = [each for each in await bookings.run.published() if isinstance(each, TicketRescheduled)]
        assert (event.ticket_id, event.holder_id) == (ticket["ticket_id"], bob.user_id)
        assert (event.show.event_date, event.show.venue_name) == (NEW_DATE, "Wembley Arena")

    async def test_continues_after_a_batch(self, embedded: BookingsService, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reschedule, "_BATCH", 2)
        made = [(await embedded.book_and_confirm())["booking_id"] for _ in range(5)]

        await change_show(embedded)
        for _ in range(4):
            await embedded.runner.run_due()

        assert sorted(each.booking_id for each in await announced(embedded)) == sorted(made)

    async def test_reopens_cancellations_that_were_closed(self, embedded: BookingsService) -> None:
        await embedded.book_and_confirm()
        closed_at = FULL_REFUND_UNTIL - timedelta(days=30)

        await change_show(embedded, full_refund_until=FULL_REFUND_UNTIL, cancellable_until=closed_at)
        await embedded.runner.run_due()

        assert [each.show.full_refund_until for each in await announced(embedded)] == [FULL_REFUND_UNTIL]

    async def test_other_changes_are_not_announced(self, embedded: BookingsService) -> None:
        await embedded.book_and_confirm()

        await change_show(embedded, is_rescheduled=False)
        await embedded.runner.run_due()

        assert await announced(embedded) == []
