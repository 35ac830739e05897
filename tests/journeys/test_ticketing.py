"""The ticketing system through its gateway: embedded, on MariaDB, and on PostgreSQL with RabbitMQ and Redis."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from tests.journeys.box_office import RunningBoxOffice, eventually_equal
from tests.journeys.rows import BACKENDS, office_on


@pytest.fixture(scope="module", params=BACKENDS)
async def system(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RunningBoxOffice]:
    async with office_on(request, tmp_path_factory.mktemp("ticketing")) as office:
        yield office


@pytest.fixture
async def office(system: RunningBoxOffice) -> RunningBoxOffice:
    """The system of the file, with a show and two buyers of the test."""
    ann, bob = [await system.account(name) for name in ("ann", "bob")]
    return replace(system, ann=ann, bob=bob, show_id=await system.create_show())


class TestBuying:
    async def test_paid_seats_are_sold_and_their_tickets_admit_once(self, office: RunningBoxOffice) -> None:
        booking = await office.buy(office.ann, 2)

        tickets = await office.tickets(office.ann, booking["bookingId"])
        first, again = await office.check_in(tickets[0]["code"]), await office.check_in(tickets[0]["code"])

        assert booking["amount"] == 99.0
        assert sorted(each["seat"] for each in tickets) == sorted(each["seatId"] for each in booking["seats"])
        assert await office.counts() == {"available": 10, "held": 0, "sold": 2, "blocked": 0}
        first.expect(201, seat=tickets[0]["seat"])
        again.expect(409, code="already_checked_in")

    async def test_a_declined_card_leaves_the_seats_for_another_card(self, office: RunningBoxOffice) -> None:
        hold_id = await office.hold(office.ann, 2)

        declined = await office.pay(office.ann, hold_id, "pm_declined")
        paid = await office.pay(office.ann, hold_id)

        assert (declined["status"], declined["failureReason"]) == ("FAILED", "payment_declined")
        assert paid["status"] == "CONFIRMED"
        assert await office.counts() == {"available": 10, "held": 0, "sold": 2, "blocked": 0}

    async def test_no_seat_is_sold_twice(self, office: RunningBoxOffice) -> None:
        bookings = [await office.buy(buyer, 3) for buyer in (office.ann, office.bob, office.ann, office.bob)]

        refused = await office.ann.take_hold(office.show_id, {"quantity": 1})

        seats = [seat["seatId"] for booking in bookings for seat in booking["seats"]]
        assert len(set(seats)) == len(seats) == 12
        assert refused.status == 409
        assert refused.json()["code"] in {"sold_out", "not_enough_seats"}
        await eventually_equal(lambda: _status(office), "SOLD_OUT")


class TestCancelling:
    async def test_a_cancelled_booking_is_refunded_and_its_seats_return(self, office: RunningBoxOffice) -> None:
        booking = await office.buy(office.ann, 2)
        tickets = await office.tickets(office.ann, booking["bookingId"])

        cancelled = await office.ann.request("POST", f"/api/bookings/{booking['bookingId']}/cancel", {})

        cancelled.expect(200, status="CANCELLED", refunded=99.0)
        await eventually_equal(office.counts, {"available": 12, "held": 0, "sold": 0, "blocked": 0})
        (await office.check_in(tickets[0]["code"])).expect(409, code="ticket_cancelled")

    async def test_a_cancelled_show_refunds_every_booking(self, office: RunningBoxOffice) -> None:
        booking = await office.buy(office.ann, 2)

        path = f"/api/events/{office.show_id}/status"
        (await office.organizer.request("PUT", path, {"status": "CANCELLED"})).expect(200)

        async def refunded() -> tuple[str, float]:
            found = await office.ann.get(f"/api/bookings/{booking['bookingId']}")
            return found["status"], found["refunded"]

        await eventually_equal(refunded, ("CANCELLED", 99.0))


class TestMails:
    async def test_the_buyer_gets_the_tickets_and_mails_about_cancellation_and_refund(
        self, office: RunningBoxOffice
    ) -> None:
        booking = await office.buy(office.ann, 2)
        (await office.ann.request("POST", f"/api/bookings/{booking['bookingId']}/cancel", {})).expect(200)

        async def mailed() -> set[tuple[str, str]]:
            path = f"/api/notifications?bookingId={booking['bookingId']}"
            found = await office.ann.items(path, "notifications")
            return {(each["template"], each["status"]) for each in found}

        templates = ("tickets", "booking-cancelled", "booking-refunded")
        await eventually_equal(mailed, {(template, "sent") for template in templates})

    async def test_the_buyer_gets_a_mail_about_a_new_date(self, office: RunningBoxOffice) -> None:
        booking = await office.buy(office.ann, 1)

        new_date = {"eventDate": "2100-07-01T19:00:00Z"}
        (await office.organizer.request("PUT", f"/api/events/{office.show_id}", new_date)).expect(200)

        async def is_mailed() -> bool:
            path = f"/api/notifications?bookingId={booking['bookingId']}&status=sent"
            found = await office.ann.items(path, "notifications")
            return "booking-rescheduled" in {each["template"] for each in found}

        await eventually_equal(is_mailed, True)

    async def test_an_offered_ticket_is_mailed_to_an_address_without_an_account(self, office: RunningBoxOffice) -> None:
        booking = await office.buy(office.ann, 1)
        (ticket,) = await office.tickets(office.ann, booking["bookingId"])
        body = {"email": "carl@example.com"}
        (await office.ann.request("POST", f"/api/tickets/{ticket['ticketId']}/transfer", body)).expect(201)

        async def is_mailed() -> bool:
            mails = await office.organizer.items("/api/mailbox", "mailbox")
            return "carl@example.com" in {each["recipient"] for each in mails}

        await eventually_equal(is_mailed, True)


class TestFinding:
    async def test_a_show_is_found_with_a_typo(self, office: RunningBoxOffice) -> None:
        async def is_found() -> bool:
            page = await office.anonymous.get("/api/search?q=quene&size=100")
            return office.show_id in [each["eventId"] for each in page["events"]]

        await eventually_equal(is_found, True)

    async def test_lists_of_every_service_are_numbered_pages(self, office: RunningBoxOffice) -> None:
        lists = {"/api/events": "events", "/api/users": "users", "/api/bookings": "bookings"}

        for path, name in lists.items():
            page = await office.organizer.get(f"{path}?size=1")
            assert set(page) == {name, "page"}
            assert page["page"]["size"] == 1


class TestBooks:
    async def test_agree_after_bookings_without_holds_and_a_cancellation(self, office: RunningBoxOffice) -> None:
        stalls = {"name": "Stalls", "rows": 2, "seatsPerRow": 10, "price": 80}
        show_id = await office.create_show(totalSeats=30, sections=[stalls, {"name": "Floor", "capacity": 10}])
        wanted = ({"seats": ["1-A-1", "1-A-2"], "amount": 160}, {"quantity": 2, "section": "Floor"})
        made = [await office.ann.book({"eventId": show_id, "paymentMethod": "pm_ok", **each}) for each in wanted]
        ids = [each.expect(201).json()["bookingId"] for each in made]
        bookings = [await office.ann.wait_for_outcome(each) for each in ids]

        cancelled = await office.ann.request("POST", f"/api/bookings/{ids[0]}/cancel", {})
        changed = await office.ann.book({"eventId": show_id, "quantity": 1, "amount": 1})

        assert [each["status"] for each in bookings] == ["CONFIRMED", "CONFIRMED"]
        cancelled.expect(200, status="CANCELLED", refunded=160)
        changed.expect(409, code="price_changed", actual=80)
        summary = await office.organizer.get(f"/api/bookings/summary?eventId={show_id}")
        assert (summary["confirmed"], summary["cancelled"], summary["tickets"]) == (1, 1, 2)
        assert (summary["gross"], summary["refunded"], summary["net"]) == (259, 160, 99)

        async def mismatches() -> tuple[object, ...]:
            money = await office.organizer.get("/api/ledger/reconcile")
            seats = await office.organizer.get(f"/api/inventory/{show_id}/reconcile")
            return money["matches"], money["checked"]["bookings"] >= len(ids), seats["mismatches"]

        await eventually_equal(mismatches, (True, True, []))


async def _status(office: RunningBoxOffice) -> str:
    return str((await office.anonymous.get(f"/api/events/{office.show_id}"))["status"])
