"""Lists, the summary of a show, the timeline and the payments of a booking."""

from datetime import timedelta

from sqlalchemy import update
from tests.services.bookings.support import BookingsService, booking_of
from tests.services.search.support import show_event

from portico.contracts.events import ShowId
from portico.kit import UserId
from portico.services.bookings.tickets.models import Ticket


class TestListBookings:
    async def test_lists_own_bookings_and_all_for_staff(self, bookings: BookingsService) -> None:
        jane = bookings.as_user()
        first, second = [await bookings.book(by=jane) for _ in range(2)]
        third = await bookings.book()

        mine = (await jane.get("/bookings")).json()
        everything = (await bookings.staff.get("/bookings?size=2")).json()

        ids = [each["booking_id"] for each in (first, second, third)]
        assert [each["booking_id"] for each in mine["bookings"]] == ids[1::-1]
        assert mine["page"] == {"number": 0, "size": 20, "total_elements": 2, "total_pages": 1}
        assert [each["booking_id"] for each in everything["bookings"]] == ids[:0:-1]
        assert everything["page"] == {"number": 0, "size": 2, "total_elements": 3, "total_pages": 2}
        assert (await bookings.run.anonymous.get("/bookings")).status_code == 401

    async def test_filters_by_show_and_status(self, bookings: BookingsService) -> None:
        show_id = ShowId.new()
        confirmed = await bookings.run.given(booking_of(bookings.run, event_id=show_id))
        expired = await bookings.run.given(booking_of(bookings.run, event_id=show_id, status="EXPIRED"))
        await bookings.run.given(booking_of(bookings.run))

        of_show = (await bookings.staff.get(f"/bookings?event_id={show_id}")).json()["bookings"]
        of_status = (await bookings.staff.get("/bookings?status=EXPIRED")).json()["bookings"]

        assert [each["booking_id"] for each in of_show] == [expired.booking_id, confirmed.booking_id]
        assert [each["booking_id"] for each in of_status] == [expired.booking_id]
        assert (await bookings.staff.get("/bookings?status=LOST")).status_code == 422


class TestSummary:
    async def test_counts_bookings_tickets_and_money_of_a_show(self, bookings: BookingsService) -> None:
        show_id, until = bookings.venue.show_id, bookings.run.clock.now() + timedelta(days=1)
        await bookings.run.receives(show_event(event_id=show_id, cancellable_until=until, refund_percent=50))
        jane = bookings.as_user()
        kept, cancelled = await bookings.book_and_confirm(by=jane, quantity=2), await bookings.book_and_confirm(by=jane)
        await bookings.book(by=jane, payment_method="pm_declined")
        await bookings.runner.run_due()
        await jane.post(f"/bookings/{cancelled['booking_id']}/cancel")
        async with bookings.run.context.transaction() as work:
            of_kept = (Ticket.booking_id == kept["booking_id"]) & (Ticket.place == 0)
            await work.execute(update(Ticket).where(of_kept).values(status="USED"))

        answer = await bookings.staff.get(f"/bookings/summary?event_id={show_id}")

        assert answer.json() == {
            "confirmed": 1,
            "cancelled": 1,
            "tickets": 2,
            "checked_in": 1,
            "gross": 148.5,
            "refunded": 24.75,
            "net": 123.75,
            "currency": "USD",
        }
        assert (await jane.get(f"/bookings/summary?event_id={show_id}")).status_code == 403

    async def test_of_an_unknown_show_is_not_found(self, embedded: BookingsService) -> None:
        answer = await embedded.staff.get(f"/bookings/summary?event_id={ShowId.new()}")

        assert (answer.status_code, answer.json()["code"]) == (404, "event_not_found")


class TestProgress:
    async def test_the_timeline_lists_steps_and_events(self, bookings: BookingsService) -> None:
        jane = UserId.new()
        booking = await bookings.book(by=bookings.as_user(subject=jane), payment_method="pm_declined")
        await bookings.runner.run_due()
        path = f"/bookings/{booking['booking_id']}/timeline"

        timeline = (await bookings.as_user(subject=jane).get(f"{path}?size=100")).json()["entries"]

        steps = [(each["what"], each["action"], each["outcome"]) for each in timeline if each["kind"] == "step"]
        assert ("claim-hold", "do", "done") in steps
        assert ("take-payment", "do", "refused") in steps
        assert ("claim-hold", "undo", "done") in steps
        events = [each["what"] for each in timeline if each["kind"] == "event"]
        assert events == ["booking.created", "booking.failed"]
        assert (await bookings.as_user().get(path)).status_code == 404

    async def test_lists_the_payments_of_a_booking(self, embedded: BookingsService) -> None:
        booking = await embedded.book_and_confirm()
        path = f"/bookings/{booking['booking_id']}/payments"

        (payment,) = (await embedded.staff.get(path)).json()["payments"]

        assert (payment["status"], payment["amount"], payment["refunded"]) == ("succeeded", 49.5, 0)
        assert (await embedded.as_user().get(path)).status_code == 404
