"""Cancellation by the buyer and by staff: tickets, places and money."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update
from tests.services.bookings.support import BookingsService
from tests.services.search.support import show_event

from portico.contracts.bookings import BookingCancelled, TicketId
from portico.contracts.events import ShowUpdated
from portico.kit import UserId
from portico.services.bookings.tickets.models import Ticket
from portico.testing.running_service import Answer, Caller


async def announce(bookings: BookingsService, **members: Any) -> None:
    """Deliver the event of the show; it can be cancelled for a month."""
    until = bookings.run.clock.now() + timedelta(days=30)
    await bookings.run.receives(
        show_event(event_id=bookings.venue.show_id, **{"cancellable_until": until, "event_date": until, **members})
    )


async def cancel(booking: dict[str, Any], by: Caller, **body: Any) -> Answer:
    path = f"/bookings/{booking['booking_id']}/cancel"
    return await by.post(path, **({"json": body} if body else {}))


@pytest.fixture
def jane(bookings: BookingsService) -> Caller:
    """The buyer, on each database."""
    return bookings.as_user(subject=UserId.new())


@pytest.fixture
def joe(embedded: BookingsService) -> Caller:
    """The buyer, on SQLite."""
    return embedded.as_user(subject=UserId.new())


class TestWholeBooking:
    async def test_refunds_returns_places_and_voids_tickets(self, bookings: BookingsService, jane: Caller) -> None:
        await announce(bookings)
        booking = await bookings.book_and_confirm(by=jane, quantity=2)

        answer = await cancel(booking, jane, reason="Cannot come")
        await bookings.runner.run_due()

        cancelled = answer.json()
        assert answer.status_code == 200
        assert (cancelled["status"], cancelled["refunded"]) == ("CANCELLED", 99)
        assert (cancelled["cancelled_at"], cancelled["cancellation_reason"]) == ("2026-01-05T09:00:00Z", "Cannot come")
        assert (bookings.venue.net_paid(), bookings.venue.sold, bookings.venue.free) == (0, 0, 10)
        assert {each["status"] for each in await bookings.tickets(booking["booking_id"])} == {"CANCELLED"}
        (event,) = [each for each in await bookings.run.published() if isinstance(each, BookingCancelled)]
        assert (event.remaining, event.refunded, event.is_show_cancelled) == (0, 99, False)

    async def test_again_changes_nothing(self, bookings: BookingsService, jane: Caller) -> None:
        await announce(bookings)
        booking = await bookings.book_and_confirm(by=jane)

        first, again = [await cancel(booking, jane) for _ in range(2)]
        await bookings.runner.run_due()

        assert (first.status_code, again.status_code) == (200, 200)
        assert first.json() == again.json()
        assert bookings.venue.calls.count("refund") == 1

    async def test_refunds_the_percentage_of_the_show_half_up(self, embedded: BookingsService, joe: Caller) -> None:
        await announce(embedded, refund_percent=33)
        booking = await embedded.book_and_confirm(by=joe, quantity=2)

        cancelled = (await cancel(booking, joe)).json()
        await embedded.runner.run_due()

        assert cancelled["refunded"] == 32.68  # twice 16.335, half up
        assert embedded.venue.net_paid() == pytest.approx(66.32)

    async def test_refunds_in_full_for_a_while_after_a_new_date(self, embedded: BookingsService, joe: Caller) -> None:
        await announce(embedded, refund_percent=50)
        moved = embedded.run.clock.now() + timedelta(days=60)
        await embedded.run.receives(
            show_event(
                ShowUpdated,
                event_id=embedded.venue.show_id,
                event_date=moved,
                cancellable_until=moved,
                refund_percent=50,
                full_refund_until=embedded.run.clock.now() + timedelta(days=14),
                is_rescheduled=True,
                revision=2,
            )
        )
        first, second = [await embedded.book_and_confirm(by=joe) for _ in range(2)]

        early = (await cancel(first, joe)).json()
        embedded.run.clock.advance(timedelta(days=15).total_seconds())
        late = (await cancel(second, embedded.staff)).json()

        assert (early["refunded"], late["refunded"]) == (49.5, 24.75)

    async def test_of_a_booking_without_a_price_refunds_nothing(self, embedded: BookingsService) -> None:
        await announce(embedded)
        booking = await embedded.book_and_confirm(by=embedded.staff, payment_method="comp")

        cancelled = (await cancel(booking, embedded.staff)).json()
        await embedded.runner.run_due()

        assert (cancelled["status"], cancelled["refunded"]) == ("CANCELLED", 0)
        assert (embedded.venue.sold, "refund" in embedded.venue.calls) == (0, False)


class TestSomeTickets:
    async def test_leaves_the_others_valid(self, bookings: BookingsService, jane: Caller) -> None:
        await announce(bookings)
        booking = await bookings.book_and_confirm(by=jane, quantity=3)
        tickets = await bookings.tickets(booking["booking_id"])
        ticket = next(each for each in tickets if each["seat"] == "1-A-2")

        part = (await cancel(booking, jane, ticket_ids=[ticket["ticket_id"]])).json()
        await bookings.runner.run_due()

        assert (part["status"], part["quantity"], part["refunded"]) == ("CONFIRMED", 3, 49.5)
        (hold,) = bookings.venue.holds.values()
        assert hold.returned == [{"seat_id": "1-A-2"}]
        (event,) = [each for each in await bookings.run.published() if isinstance(each, BookingCancelled)]
        assert event.remaining == 2

        whole = (await cancel(booking, jane)).json()
        await bookings.runner.run_due()

        assert (whole["status"], whole["refunded"]) == ("CANCELLED", 148.5)
        assert (bookings.venue.net_paid(), bookings.venue.sold) == (0, 0)

    async def test_a_cancelled_ticket_is_refunded_once(self, embedded: BookingsService, joe: Caller) -> None:
        await announce(embedded)
        booking = await embedded.book_and_confirm(by=joe, quantity=2)
        ticket_id = (await embedded.tickets(booking["booking_id"]))[0]["ticket_id"]

        for _ in range(2):
            answer = await cancel(booking, joe, ticket_ids=[ticket_id])
            await embedded.runner.run_due()
            assert (answer.status_code, answer.json()["refunded"]) == (200, 49.5)

        assert (embedded.venue.net_paid(), embedded.venue.sold) == (49.5, 1)

    async def test_the_last_ticket_ends_the_booking(self, embedded: BookingsService, joe: Caller) -> None:
        await announce(embedded)
        booking = await embedded.book_and_confirm(by=joe, quantity=2)

        for ticket in await embedded.tickets(booking["booking_id"]):
            answer = await cancel(booking, joe, ticket_ids=[ticket["ticket_id"]])

        assert answer.json()["status"] == "CANCELLED"

    async def test_an_unknown_ticket_is_not_found(self, embedded: BookingsService, joe: Caller) -> None:
        await announce(embedded)
        booking = await embedded.book_and_confirm(by=joe)

        answer = await cancel(booking, joe, ticket_ids=[TicketId.new()])

        assert (answer.status_code, answer.json()["code"]) == (404, "ticket_not_found")

    @pytest.mark.parametrize(
        ("values", "code"),
        [({"status": "USED"}, "ticket_used"), ({"transferred_at": show_event().event_date}, "ticket_transferred")],
    )
    async def test_used_and_transferred_tickets_stay(
        self, embedded: BookingsService, joe: Caller, values: dict[str, Any], code: str
    ) -> None:
        await announce(embedded)
        booking = await embedded.book_and_confirm(by=joe, quantity=2)
        async with embedded.run.context.transaction() as work:
            await work.execute(update(Ticket).where(Ticket.place == 0).values(**values))

        answer = await cancel(booking, joe)
        await embedded.runner.run_due()

        assert (answer.status_code, answer.json()["code"]) == (409, code)
        assert (embedded.venue.net_paid(), embedded.venue.sold) == (99, 2)


class TestWhoMayCancel:
    async def test_the_buyer_until_the_deadline_and_staff_always(self, bookings: BookingsService, jane: Caller) -> None:
        await announce(bookings, cancellable_until=bookings.run.clock.now())
        booking = await bookings.book_and_confirm(by=jane)

        late = await cancel(booking, jane)
        staff = await cancel(booking, bookings.staff)

        assert (late.status_code, late.json()["code"]) == (409, "cancellation_closed")
        assert late.json()["closed_at"] == "2026-01-05T09:00:00Z"
        assert staff.json()["status"] == "CANCELLED"

    async def test_only_staff_choose_the_refund(self, embedded: BookingsService, joe: Caller) -> None:
        await announce(embedded)
        booking = await embedded.book_and_confirm(by=joe)

        buyer = await cancel(booking, joe, refund_percent=100)
        staff = await cancel(booking, embedded.staff, refund_percent=10)

        assert (buyer.status_code, buyer.json()["permission"]) == (403, "bookings:write")
        assert staff.json()["refunded"] == 4.95

    async def test_a_booking_of_another_user_is_not_found(self, embedded: BookingsService, joe: Caller) -> None:
        booking = await embedded.book_and_confirm(by=joe)

        stranger, reader = [await cancel(booking, embedded.as_user(*each)) for each in ((), ("bookings:read",))]

        assert (stranger.status_code, stranger.json()["code"]) == (404, "booking_not_found")
        assert (reader.status_code, reader.json()["permission"]) == (403, "bookings:write")

    async def test_waits_for_the_events_of_the_show(self, embedded: BookingsService, joe: Caller) -> None:
        booking = await embedded.book_and_confirm(by=joe)

        answer = await cancel(booking, joe)

        assert (answer.status_code, answer.json()["code"]) == (503, "show_unknown")
        assert answer.headers["retry-after"] == "1"

    @pytest.mark.parametrize(
        "body", [{"refund_percent": 101}, {"refund_percent": -1}, {"ticket_ids": []}, {"reason": ""}, {"note": "x"}]
    )
    async def test_an_invalid_request_is_refused(
        self, embedded: BookingsService, joe: Caller, body: dict[str, Any]
    ) -> None:
        booking = await embedded.book_and_confirm(by=joe)

        assert (await cancel(booking, joe, **body)).status_code == 422


class TestWhileItIsPaid:
    async def test_is_accepted_and_everything_is_taken_back(self, bookings: BookingsService, jane: Caller) -> None:
        booking = await bookings.book(by=jane, quantity=2, payment_method="pm_slow")
        await bookings.runner.run_due()

        answer = await cancel(booking, jane, reason="Wrong date")
        await bookings.advance(5, times=4)

        ended = await bookings.read(booking["booking_id"])
        assert (answer.status_code, answer.json()["status"]) == (202, "PENDING")
        assert (ended["status"], ended["refunded"], ended["cancellation_reason"]) == ("CANCELLED", 0, "Wrong date")
        assert (bookings.venue.net_paid(), bookings.venue.held, bookings.venue.sold) == (0, 0, 0)
        assert await bookings.published_for(booking["booking_id"]) == ["booking.created", "booking.cancelled"]
        assert (await cancel(booking, jane)).status_code == 200

    async def test_releases_a_hold_of_the_buyer(self, embedded: BookingsService) -> None:
        ada = UserId.new()
        caller, hold_id = embedded.as_user(subject=ada), embedded.venue.add_hold(ada)
        booking = await embedded.book(by=caller, hold_id=hold_id, payment_method="pm_slow")
        await embedded.runner.run_due()

        await cancel(booking, caller)
        await embedded.advance(5, times=4)

        assert (embedded.venue.holds[hold_id].was_kept, embedded.venue.held) == (False, 0)

    async def test_before_it_is_claimed_nothing_is_charged(self, embedded: BookingsService, joe: Caller) -> None:
        booking = await embedded.book(by=joe)

        await cancel(booking, joe)
        await embedded.advance(5, times=4)

        assert (await embedded.read(booking["booking_id"]))["status"] == "CANCELLED"
        assert (embedded.venue.charges, embedded.venue.sold, embedded.venue.held) == ({}, 0, 0)

    @pytest.mark.parametrize("is_own", [False, True])
    async def test_before_it_is_claimed_its_hold_is_released(
        self,
        bookings: BookingsService,
        is_own: bool,  # noqa: FBT001  # a parameter of the test
    ) -> None:
        ada = UserId.new()
        caller = bookings.as_user(subject=ada)
        hold = {} if is_own else {"hold_id": bookings.venue.add_hold(ada)}
        booking = await bookings.book(by=caller, **hold)

        await cancel(booking, caller)
        await bookings.advance(5, times=4)

        assert (await bookings.read(booking["booking_id"]))["status"] == "CANCELLED"
        assert bookings.venue.holds[booking["hold_id"]].status == "RELEASED"

    async def test_a_hold_that_another_booking_has_by_then_stays(self, embedded: BookingsService) -> None:
        ada = UserId.new()
        caller = embedded.as_user(subject=ada)
        booking = await embedded.book(by=caller)
        await cancel(booking, caller)
        embedded.venue.holds[booking["hold_id"]].status = "CLAIMED"

        await embedded.advance(5, times=4)

        assert (await embedded.read(booking["booking_id"]))["status"] == "CANCELLED"
        assert embedded.venue.held == 1

    async def test_while_its_places_are_sold_they_are_returned(self, embedded: BookingsService, joe: Caller) -> None:
        embedded.venue.failures["sell"] += ["lost_after"]
        booking = await embedded.book(by=joe, quantity=2)
        await embedded.runner.run_due()
        assert embedded.venue.sold == 2

        await cancel(booking, joe)
        await embedded.advance(10, times=6)

        assert (await embedded.read(booking["booking_id"]))["status"] == "CANCELLED"
        assert (embedded.venue.net_paid(), embedded.venue.sold) == (0, 0)
        assert await embedded.tickets(booking["booking_id"]) == []

    async def test_a_failed_booking_cannot_be_cancelled(self, embedded: BookingsService, joe: Caller) -> None:
        booking = await embedded.book(by=joe, payment_method="pm_declined")
        await embedded.runner.run_due()

        answer = await cancel(booking, joe)

        assert (answer.status_code, answer.json()["code"]) == (409, "illegal_transition")
        assert (answer.json()["current"], answer.json()["wanted"]) == ("FAILED", "CANCELLED")
