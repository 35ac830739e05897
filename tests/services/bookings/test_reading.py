from tests.services.bookings.support import BookingsService, booking_of, place

from portico.kit import UserId
from portico.testing.migrations import differences


class TestReadBooking:
    async def test_returns_the_booking_with_its_seats(self, bookings: BookingsService) -> None:
        jane = UserId.new()
        booking = await bookings.run.given(
            booking_of(bookings.run, place(), place(None, section="Floor", price_minor=2000), user_id=jane)
        )

        answer = await bookings.as_user(subject=jane).get(f"/bookings/{booking.booking_id}")

        assert answer.status_code == 200
        assert answer.headers["etag"] == '"1"'
        assert answer.json() == {
            "booking_id": booking.booking_id,
            "event_id": booking.event_id,
            "user_id": jane,
            "status": "CONFIRMED",
            "quantity": 2,
            "seats": [{"seat_id": "1-A-12", "section": "Stalls", "row": "A", "number": 12, "price": 49.5}],
            "amount": 69.5,
            "discount": 0,
            "currency": "USD",
            "refunded": 0,
            "hold_id": booking.hold_id,
            "failure_reason": None,
            "failure_detail": None,
            "cancellation_reason": None,
            "created_at": "2026-01-05T09:00:00Z",
            "confirmed_at": "2026-01-05T09:00:00Z",
            "cancelled_at": None,
        }

    async def test_a_booking_of_another_user_is_404_without_the_permission(self, embedded: BookingsService) -> None:
        booking = await embedded.run.given(booking_of(embedded.run))
        path = f"/bookings/{booking.booking_id}"

        stranger, staff = await embedded.as_user().get(path), await embedded.as_user("bookings:read").get(path)

        assert (stranger.status_code, stranger.json()["code"]) == (404, "booking_not_found")
        assert (staff.status_code, staff.json()["booking_id"]) == (200, booking.booking_id)
        assert (await embedded.run.anonymous.get(path)).status_code == 401

    async def test_an_identifier_that_cannot_exist_is_404(self, embedded: BookingsService) -> None:
        answer = await embedded.staff.get("/bookings/17")

        assert (answer.status_code, answer.json()["code"]) == (404, "booking_not_found")


async def test_the_migration_creates_the_tables_of_the_models(bookings: BookingsService) -> None:
    assert await differences(bookings.run) == []


class TestTotals:
    async def test_lists_what_bookings_cost_for_services(self, bookings: BookingsService) -> None:
        first, second = [
            await bookings.run.given(booking_of(bookings.run, refunded_minor=refunded)) for refunded in (0, 1000)
        ]
        payments = bookings.run.as_service("payments")

        everything = (await payments.get("/bookings/totals")).json()
        page = (await payments.get(f"/bookings/totals?after={first.booking_id}&limit=5")).json()
        only = (await payments.get(f"/bookings/totals?booking_id={first.booking_id}")).json()

        assert [each["booking_id"] for each in everything] == [first.booking_id, second.booking_id]
        assert page == [
            {
                "booking_id": second.booking_id,
                "user_id": second.user_id,
                "status": "CONFIRMED",
                "amount": 49.5,
                "refunded": 10,
                "currency": "USD",
                "created_at": "2026-01-05T09:00:00Z",
            }
        ]
        assert [each["booking_id"] for each in only] == [first.booking_id]
        assert (await bookings.staff.get("/bookings/totals")).status_code == 403
