"""The rows of bookings, tickets, transfers, check-ins and payments in the ticketing system, through its gateway."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.journeys.box_office import RunningBoxOffice, eventually_equal
from tests.journeys.rows import is_paged, refused, refuses_bodies, walked

from portico.ticketing_client import TicketingClient

BOOKING_FIELDS = {
    "bookingId", "eventId", "userId", "status", "quantity", "seats", "amount", "discount", "currency", "refunded",
    "holdId", "failureReason", "failureDetail", "cancellationReason", "createdAt", "confirmedAt", "cancelledAt",
}  # fmt: skip
NO_HOLD = "hold_" + "0" * 26
MAX_TRIES = 20


def moment(**spans: float) -> str:
    return (datetime.now(UTC) + timedelta(**spans)).isoformat().replace("+00:00", "Z")


async def book(office: RunningBoxOffice, buyer: TicketingClient, show_id: int, **draft: Any) -> dict[str, Any]:
    """Book places; return the booking once it has an outcome."""
    body = {"eventId": show_id, "paymentMethod": "pm_ok", **draft}
    if not {"holdId", "seats", "quantity"} & body.keys():
        body["quantity"] = 1
    made = (await buyer.book(body)).expect(201).json()
    return await buyer.wait_for_outcome(made["bookingId"])


async def ticket_of(buyer: TicketingClient, booking: dict[str, Any]) -> dict[str, Any]:
    """Return the first ticket of a booking."""
    return (await buyer.items(f"/api/bookings/{booking['bookingId']}/tickets", "tickets"))[0]


class TestMaking:
    async def test_a_booking_and_its_progress(self, office: RunningBoxOffice) -> None:
        show_id = await office.create_show()
        hold = (await office.ann.take_hold(show_id, {"quantity": 2})).expect(201).json()
        draft = {"eventId": show_id, "holdId": hold["holdId"], "amount": 99, "paymentMethod": "pm_ok"}

        made = (await office.ann.book(draft)).expect(201, status="PENDING")
        path = f"/api/bookings/{made.json()['bookingId']}"
        last = await office.ann.follow(f"{path}/live", lambda message: message["status"] != "PENDING")
        booking = await office.ann.get(path)

        assert made.headers["location"] == path
        assert made.json().keys() == booking.keys() == BOOKING_FIELDS
        assert last["status"] == booking["status"] == "CONFIRMED"
        assert booking["seats"] == hold["seats"]
        expected = {"eventId": show_id, "userId": office.ann.user_id, "quantity": 2, "amount": 99, "discount": 0}
        assert expected.items() <= booking.items()
        assert (booking["currency"], booking["refunded"], booking["holdId"]) == ("USD", 0, hold["holdId"])
        assert (booking["failureReason"], booking["cancelledAt"]) == (None, None)
        assert booking["createdAt"] <= booking["confirmedAt"]
        timeline = await walked(office.ann, f"{path}/timeline", "entries", size=3)
        assert {"booking.created", "booking.confirmed"} <= {
            each["what"] for each in timeline if each["kind"] == "event"
        }
        steps = [each["what"] for each in timeline if each["saga"] == "make-booking"]
        assert [each for each in steps if each != "make-booking"] == [
            "claim-hold", "check-show", "take-payment", "sell-places",
        ]  # fmt: skip
        (payment,) = await walked(office.ann, f"{path}/payments", "payments")
        await is_paged(office.ann, f"{path}/timeline", "entries")
        await is_paged(office.ann, f"{path}/payments", "payments")
        assert (payment["status"], payment["amount"], payment["currency"]) == ("succeeded", 99, "USD")
        for wrong in (path, f"{path}/timeline", f"{path}/payments", f"{path}/tickets"):
            refused(await office.bob.request("GET", wrong), 404, "booking_not_found")
        refused(await office.ann.book({**draft, "amount": 99}), 409, "hold_used", bookingId=booking["bookingId"])
        hold_path = f"/api/inventory/{show_id}/holds/{hold['holdId']}"
        assert (await office.ann.get(hold_path))["status"] == "SOLD"
        refused(await office.ann.request("DELETE", hold_path), 409, "hold_used", bookingId=booking["bookingId"])

    async def test_what_a_booking_refuses(self, office: RunningBoxOffice) -> None:
        show_id = await office.create_show(totalSeats=10, sections=[{"name": "Box", "rows": 1, "seatsPerRow": 10}])
        mine = (await office.ann.take_hold(show_id, {"seats": ["1-A-1"]})).expect(201).json()
        released = (await office.ann.take_hold(show_id, {"seats": ["1-A-2"]})).expect(201).json()
        await office.ann.request("DELETE", f"/api/inventory/{show_id}/holds/{released['holdId']}")

        async def refusal(status: int, expected: str, *, by: TicketingClient = office.ann, **draft: Any) -> Any:
            return refused(await by.book({"eventId": show_id, "paymentMethod": "pm_ok", **draft}), status, expected)

        await refusal(404, "hold_not_found", by=office.bob, holdId=mine["holdId"])
        await refusal(404, "hold_not_found", holdId=NO_HOLD)
        await refusal(409, "hold_expired", holdId=released["holdId"])
        changed = await refusal(409, "price_changed", holdId=mine["holdId"], amount=1)
        assert (changed["actual"], changed["currency"]) == (49.5, "USD")
        await refusal(409, "price_changed", quantity=1, amount=1)
        assert (await refusal(409, "seat_taken", seats=["1-A-1", "1-A-3"]))["seats"] == ["1-A-1"]
        short = await refusal(409, "seat_limit_reached", quantity=8)
        assert (short["limit"], short["held"], short["booked"]) == (8, 1, 0)
        await refusal(422, "unknown_seat", seats=["7-Q-1"])
        await refusal(422, "unknown_section", quantity=1, section="Moon")
        await refusal(422, "code_unknown", quantity=1, code="NOPE")
        await refusal(403, "permission_missing", quantity=1, userId=office.bob.user_id)
        await refusal(403, "permission_missing", quantity=1, paymentMethod="comp")
        refused(await office.ann.book({"eventId": 1, "quantity": 1}), 404, "event_not_found")
        few = {"eventId": show_id, "quantity": 10, "userId": office.bob.user_id, "paymentMethod": "comp"}
        (await office.organizer.request("PUT", f"/api/events/{show_id}", {"maxSeatsPerUser": 50})).expect(200)

        async def code() -> str:
            return str((await office.organizer.book(few)).json()["code"])

        await eventually_equal(code, "not_enough_seats")
        problem = refused(await office.organizer.book(few), 409, "not_enough_seats")
        assert (problem["requested"], problem["available"]) == (10, 9)
        await refuses_bodies(
            office.ann,
            "/api/bookings",
            [
                {"eventId": show_id},
                {"eventId": show_id, "quantity": 1, "seats": ["1-A-5"]},
                {"eventId": show_id, "seats": ["1-A-5", "1-A-5"]},
                *({"eventId": show_id, "quantity": each} for each in (0, -1, 10**12)),
                {"eventId": show_id, "quantity": 1, "colour": "red"},
            ],
        )
        assert await office.counts(show_id) == {"available": 9, "held": 1, "sold": 0, "blocked": 0}

    async def test_a_decline_keeps_the_hold_for_another_card(self, office: RunningBoxOffice) -> None:
        show_id = await office.create_show()
        hold = (await office.ann.take_hold(show_id, {"quantity": 1})).expect(201).json()

        tried = [
            await book(office, office.ann, show_id, holdId=hold["holdId"], paymentMethod=method)
            for method in ("pm_declined", "pm_insufficient_funds", "pm_declined")
        ]
        again = await office.ann.book({"eventId": show_id, "holdId": hold["holdId"], "paymentMethod": "pm_ok"})
        own = await book(office, office.bob, show_id, quantity=2, paymentMethod="pm_declined")

        assert {(each["status"], each["failureReason"]) for each in tried} == {("FAILED", "payment_declined")}
        refused(again, 409, "hold_expired")
        assert own["status"] == "FAILED"
        path = f"/api/bookings/{own['bookingId']}/cancel"
        refused(await office.bob.request("POST", path, {}), 409, "illegal_transition", current="FAILED")
        await eventually_equal(lambda: office.counts(show_id), {"available": 12, "held": 0, "sold": 0, "blocked": 0})

    async def test_one_whose_hold_is_released_at_the_same_moment_fails(self, office: RunningBoxOffice) -> None:
        show_id = await office.create_show()
        buyer = await office.account("quick")
        reason, tries = None, 0
        while reason != "hold_lost":  # the two requests may be executed in either order
            tries += 1
            assert tries <= MAX_TRIES
            hold = (await buyer.take_hold(show_id, {"quantity": 1})).expect(201).json()
            path = f"/api/inventory/{show_id}/holds/{hold['holdId']}"
            draft = {"eventId": show_id, "holdId": hold["holdId"], "paymentMethod": "pm_ok"}
            made, released = await asyncio.gather(buyer.book(draft), buyer.request("DELETE", path))
            if made.status != 201:
                refused(made, 409, "hold_expired")
                continue
            booking = await buyer.wait_for_outcome(made.json()["bookingId"])
            reason = booking["failureReason"]
            assert (booking["status"], reason) == (
                ("FAILED", "hold_lost") if released.status == 204 else ("CONFIRMED", None)
            )
            if reason is None:
                await buyer.request("POST", f"/api/bookings/{booking['bookingId']}/cancel", {})

        assert await office.counts(show_id) == {"available": 12, "held": 0, "sold": 0, "blocked": 0}

    async def test_staff_book_for_others_without_a_charge(self, office: RunningBoxOffice) -> None:
        show_id = await office.create_show()

        booking = await book(
            office, office.organizer, show_id, userId=office.bob.user_id, paymentMethod="comp", quantity=2
        )

        assert (booking["status"], booking["userId"], booking["amount"]) == ("CONFIRMED", office.bob.user_id, 0)
        assert await walked(office.organizer, f"/api/bookings/{booking['bookingId']}/payments", "payments") == []
        assert (await ticket_of(office.bob, booking))["holderName"] == "bob"

    async def test_lists_and_the_summary_of_a_show(self, office: RunningBoxOffice) -> None:
        show_id = await office.create_show(totalSeats=40, sections=[{"name": "Floor", "capacity": 40}])
        one, two, three = [await book(office, who, show_id, quantity=2) for who in (office.ann, office.bob, office.ann)]
        (await office.ann.request("POST", f"/api/bookings/{three['bookingId']}/cancel", {})).expect(200)
        ticket = await ticket_of(office.bob, two)
        (await office.organizer.request("POST", "/api/check-ins", {"code": ticket["code"]})).expect(201)
        path = f"/api/bookings?eventId={show_id}"

        async def found(client: TicketingClient, query: str = "") -> list[str]:
            return [each["bookingId"] for each in await walked(client, f"{path}{query}", "bookings")]

        assert await found(office.ann) == [three["bookingId"], one["bookingId"]]
        assert await found(office.organizer) == [each["bookingId"] for each in (three, two, one)]
        assert await found(office.organizer, "&status=CANCELLED") == [three["bookingId"]]
        await is_paged(office.ann, path, "bookings")
        assert (await office.ann.request("GET", f"{path}&status=LOST")).status == 422
        summary = await office.organizer.get(f"/api/bookings/summary?eventId={show_id}")
        assert summary == {
            "confirmed": 2,
            "cancelled": 1,
            "tickets": 4,
            "checkedIn": 1,
            "gross": 297,
            "refunded": 99,
            "net": 198,
            "currency": "USD",
        }
        unknown = await office.organizer.request("GET", "/api/bookings/summary?eventId=1")
        refused(unknown, 404, "event_not_found")


class TestCancelling:
    async def test_some_tickets_then_the_rest_with_refunds_per_ticket(self, office: RunningBoxOffice) -> None:
        show_id = await office.create_show(price=0.99, refundPercent=50)
        booking = await book(office, office.ann, show_id, quantity=3)
        path = f"/api/bookings/{booking['bookingId']}"
        tickets = await walked(office.ann, f"{path}/tickets", "tickets")
        first = tickets[0]["ticketId"]

        part = await office.ann.request("POST", f"{path}/cancel", {"ticketIds": [first], "reason": "Ill"})
        partly = part.expect(200, status="CONFIRMED", refunded=0.5).json()
        staff_only = await office.ann.request("POST", f"{path}/cancel", {"refundPercent": 100})
        whole = await office.organizer.request("POST", f"{path}/cancel", {"refundPercent": 100})
        again = await office.ann.request("POST", f"{path}/cancel", {})

        assert (partly["cancellationReason"], partly["quantity"]) == ("Ill", 3)
        refused(staff_only, 403, "permission_missing", permission="bookings:write")
        whole.expect(200, status="CANCELLED", refunded=2.48)
        assert again.expect(200).json() == whole.json()
        assert {each["status"] for each in await walked(office.ann, f"{path}/tickets", "tickets")} == {"CANCELLED"}
        await eventually_equal(lambda: office.counts(show_id), {"available": 12, "held": 0, "sold": 0, "blocked": 0})

    async def test_the_buyer_only_in_time_and_no_used_or_transferred_ticket(self, office: RunningBoxOffice) -> None:
        late = await office.create_show(cancellableUntil=moment(hours=-1))
        booking = await book(office, office.ann, late)
        path = f"/api/bookings/{booking['bookingId']}/cancel"
        refused(await office.ann.request("POST", path, {}), 409, "cancellation_closed")
        (await office.organizer.request("POST", path, {})).expect(200, status="CANCELLED")

        used = await book(office, office.ann, office.show_id)
        ticket = await ticket_of(office.ann, used)
        (await office.check_in(ticket["code"])).expect(201)
        answer = await office.ann.request("POST", f"/api/bookings/{used['bookingId']}/cancel", {})
        refused(answer, 409, "ticket_used", ticketId=ticket["ticketId"])

    async def test_while_it_is_paid_it_is_taken_back(self, office: RunningBoxOffice) -> None:
        show_id = await office.create_show()
        draft = {"eventId": show_id, "quantity": 1, "paymentMethod": "pm_slow"}
        made = (await office.ann.book(draft)).expect(201).json()

        hold = f"/api/inventory/{show_id}/holds/{made['holdId']}"
        path = f"/api/bookings/{made['bookingId']}"

        async def is_claimed() -> str:
            return str((await office.ann.get(hold))["status"])

        await eventually_equal(is_claimed, "CLAIMED")
        refused(await office.ann.request("DELETE", hold), 409, "hold_in_use")
        refused(await office.ann.book({**draft, "quantity": None, "holdId": made["holdId"]}), 409, "hold_in_use")
        (await office.ann.request("POST", f"{path}/cancel", {})).expect(202, status="PENDING")
        assert (await office.ann.wait_for_outcome(made["bookingId"]))["status"] == "CANCELLED"
        await eventually_equal(lambda: office.counts(show_id), {"available": 12, "held": 0, "sold": 0, "blocked": 0})
