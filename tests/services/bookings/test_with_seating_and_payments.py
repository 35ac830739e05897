"""Bookings with the real services that it calls, on SQLite."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

import orjson
import pytest
from tests.services.bookings.support import BookingsService
from tests.services.bookings.venue import Venue
from tests.services.seating.support import SeatingService, assert_consistent, open_seating

from portico.contracts.events import ShowId, ShowStatusChanged
from portico.kit import UserId
from portico.kit.calls.channel import Incoming, Outgoing
from portico.services.bookings import service as bookings_service
from portico.services.payments import service as payments_service
from portico.testing.clock import ManualClock
from portico.testing.databases import Databases
from portico.testing.running_service import Answer, RunningService, run_service


@dataclass
class Neighbours:
    """Sends the calls of bookings to services under test, each of which has an issuer of its own."""

    services: Mapping[str, RunningService]

    async def send(self, out: Outgoing) -> Incoming:
        if out.path == "/oauth/token":
            body = orjson.dumps({"access_token": "bookings", "expires_in": 600})
            return Incoming(200, [(b"content-type", b"application/json")], body)
        called = self.services[out.service]
        token = called.issuer.token("service:bookings")
        headers = [header for header in out.headers if header[0] != b"authorization"]
        headers.append((b"authorization", f"Bearer {token}".encode()))
        return await called.channel.send(replace(out, headers=headers))


@dataclass
class BoxOffice:
    """Bookings, seating and payments, with a show of twenty-four places."""

    bookings: BookingsService
    seating: SeatingService
    payments: RunningService
    show_id: ShowId

    async def book(self, user_id: str, *permissions: str, **body: Any) -> Answer:
        caller = self.bookings.as_user(*permissions, subject=user_id)
        whole = {"event_id": self.show_id, "payment_method": "pm_ok", **body}
        return await caller.post("/bookings", json=whole)

    async def settled(self, answer: Answer) -> dict[str, Any]:
        """Run the sagas and return the booking of an answer."""
        assert answer.status_code == 201, answer.content
        await self.bookings.runner.run_due()
        return await self.bookings.read(answer.json()["booking_id"])

    async def net_paid(self) -> float:
        found = (await self.payments.as_user("payments:read").get("/payments")).json()
        return float(sum(each["amount"] - each["refunded"] for each in found if each["status"] == "succeeded"))

    async def counts(self) -> tuple[int, int, int, int]:
        await assert_consistent(self.seating, self.show_id)
        return await self.seating.counts(self.show_id)


@pytest.fixture
async def office(sqlite_databases: Databases) -> AsyncIterator[BoxOffice]:
    async with AsyncExitStack() as stack:
        seating = await stack.enter_async_context(open_seating(sqlite_databases))
        clock: ManualClock = seating.run.clock
        payments = await stack.enter_async_context(
            run_service(payments_service, sqlite_databases, clock=clock, background=False)
        )
        channel = Neighbours({"seating": seating.run, "payments": payments})
        run = await stack.enter_async_context(
            run_service(bookings_service, sqlite_databases, clock=clock, channel=channel, background=False)
        )
        show_id = await seating.show()
        await run.receives(seating.shows[show_id])
        yield BoxOffice(BookingsService(run, Venue(show_id=show_id)), seating, payments, show_id)


class TestBoxOffice:
    async def test_books_and_cancels_seats_and_standing_places(self, office: BoxOffice) -> None:
        jane = UserId.new()
        seats = await office.settled(await office.book(jane, seats=["1-B-1", "1-B-2"], amount=160))
        floor = await office.settled(await office.book(jane, quantity=2, section="Floor"))

        assert [each["status"] for each in (seats, floor)] == ["CONFIRMED", "CONFIRMED"]
        assert (await office.counts(), await office.net_paid()) == ((20, 0, 4, 0), 259)

        caller = office.bookings.as_user(subject=jane)
        ticket, _ = await office.bookings.tickets(floor["booking_id"])
        for booking, body in ((seats, {}), (floor, {"ticket_ids": [ticket["ticket_id"]]})):
            answer = await caller.post(f"/bookings/{booking['booking_id']}/cancel", json=body)
            assert answer.status_code == 200, answer.content
        await office.bookings.runner.run_due()

        assert (await office.counts(), await office.net_paid()) == ((23, 0, 1, 0), 49.5)

    async def test_a_code_lowers_what_is_paid_and_refunded(self, office: BoxOffice) -> None:
        staff = office.seating.run.as_user("inventory:write")
        code = {"code": "EARLY", "kind": "DISCOUNT", "percent_off": 10}
        made = await staff.post(f"/inventory/{office.show_id}/codes", json=code)
        assert made.status_code == 201, made.content
        jane = UserId.new()

        booking = await office.settled(await office.book(jane, quantity=2, section="Floor", code="early"))
        unknown = await office.book(jane, quantity=1, code="LATE")

        assert (booking["amount"], booking["discount"], await office.net_paid()) == (89.1, 9.9, 89.1)
        assert (unknown.status_code, unknown.json()["code"]) == (422, "code_unknown")
        caller = office.bookings.as_user(subject=jane)
        cancelled = await caller.post(f"/bookings/{booking['booking_id']}/cancel")
        assert cancelled.json()["refunded"] == 89.1

    async def test_a_hold_is_kept_after_a_decline_and_sold_with_another_card(self, office: BoxOffice) -> None:
        jane = UserId.new()
        hold = await office.seating.given_hold(office.show_id, 2, user=jane, section="Floor")

        declined = await office.settled(await office.book(jane, hold_id=hold["hold_id"], payment_method="pm_declined"))
        between = await office.counts()
        paid = await office.settled(await office.book(jane, hold_id=hold["hold_id"]))
        again = await office.book(jane, hold_id=hold["hold_id"])

        assert (declined["failure_reason"], between) == ("payment_declined", (22, 2, 0, 0))
        assert (paid["status"], await office.counts(), await office.net_paid()) == ("CONFIRMED", (22, 0, 2, 0), 99)
        assert (again.status_code, again.json()["code"]) == (409, "hold_used")
        assert again.json()["booking_id"] == paid["booking_id"]

    async def test_refusals_are_those_of_seating(self, office: BoxOffice) -> None:
        jane = UserId.new()
        await office.settled(await office.book(UserId.new(), seats=["1-B-1"]))

        refusals = [
            await office.book(jane, seats=["1-B-1"]),
            await office.book(jane, seats=["9-Z-1"]),
            await office.book(jane, quantity=9),
            await office.book(jane, quantity=1, amount=1),
            await office.book(jane, quantity=1, event_id=ShowId.new()),
        ]

        assert [(each.status_code, each.json()["code"]) for each in refusals] == [
            (409, "seat_taken"),
            (422, "unknown_seat"),
            (409, "seat_limit_reached"),
            (409, "price_changed"),
            (404, "event_not_found"),
        ]
        assert refusals[0].json()["seats"] == ["1-B-1"]
        assert await office.counts() == (23, 0, 1, 0)

    async def test_a_cancelled_show_returns_everything(self, office: BoxOffice) -> None:
        await office.settled(await office.book(UserId.new(), quantity=2))
        slow = await office.book(UserId.new(), quantity=2, payment_method="pm_slow")
        await office.bookings.runner.run_due()

        await office.seating.change(office.show_id, ShowStatusChanged, status="CANCELLED", previous_status="ON_SALE")
        await office.bookings.run.receives(office.seating.shows[office.show_id])
        await office.bookings.advance(5, times=12)

        failed = await office.bookings.read(slow.json()["booking_id"])
        assert (failed["status"], failed["failure_reason"]) == ("FAILED", "event_cancelled")
        assert ((await office.counts())[1:], await office.net_paid()) == ((0, 0, 0), 0)
