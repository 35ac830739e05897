"""The rows of ticketing about the time: what changes by itself, seen with a clock that the test advances."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.journeys.box_office import RunningBoxOffice, eventually_equal
from tests.journeys.rows import BACKENDS, office_on, refused
from tests.journeys.shop import ADMIN, PASSWORD
from tests.journeys.test_ticketing_rows_bookings import book, ticket_of
from tests.journeys.test_ticketing_rows_waiting import small_show

from portico.testing.clock import ShiftedClock

MINUTE, HOUR, DAY = 60, 3_600, 86_400


@pytest.fixture(scope="module")
def clock() -> ShiftedClock:
    return ShiftedClock()


@pytest.fixture(scope="module", params=BACKENDS)
async def office(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, clock: ShiftedClock
) -> AsyncIterator[RunningBoxOffice]:
    folder = tmp_path_factory.mktemp("rows")
    async with office_on(request, folder, clock=clock, PAYMENTS_SIMULATED_SETTLEMENT="3600") as office:
        yield office


def moment(clock: ShiftedClock, seconds: float) -> str:
    return (clock.now() + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


async def advance(office: RunningBoxOffice, clock: ShiftedClock, seconds: float) -> None:
    """Advance the clock, and sign all users in again: their tokens may have expired."""
    clock.advance(seconds)
    office.organizer = await office.anonymous.sign_in(**ADMIN)
    office.ann, office.bob = [
        await office.anonymous.sign_in(f"{name}@example.com", PASSWORD) for name in ("ann", "bob")
    ]


async def status_of(office: RunningBoxOffice, show_id: int) -> str:
    return str((await office.anonymous.get(f"/api/events/{show_id}"))["status"])


async def hold_of(office: RunningBoxOffice, show_id: int, **wanted: Any) -> tuple[str, dict[str, Any]]:
    """Hold a place for Ann; return its path and the hold."""
    hold = (await office.ann.take_hold(show_id, {"quantity": 1, **wanted})).expect(201).json()
    return f"/api/inventory/{show_id}/holds/{hold['holdId']}", hold


class TestEvents:
    async def test_are_completed_a_day_after_their_date_and_the_last_change(
        self, office: RunningBoxOffice, clock: ShiftedClock
    ) -> None:
        date = {"eventDate": moment(clock, HOUR), "saleEndTime": moment(clock, 30 * DAY)}
        changed, unchanged = [await office.create_show(**date) for _ in range(2)]

        await advance(office, clock, 2 * HOUR)
        (await office.organizer.request("PUT", f"/api/events/{changed}", {"description": "It was late"})).expect(200)
        await advance(office, clock, 23.5 * HOUR)
        await eventually_equal(lambda: status_of(office, unchanged), "COMPLETED")
        assert await status_of(office, changed) == "ON_SALE"
        await advance(office, clock, HOUR)
        await eventually_equal(lambda: status_of(office, changed), "COMPLETED")

        put, path = office.organizer.request, f"/api/events/{changed}"
        refused(await put("PUT", path, {"price": 1}), 409, "event_ended")
        again = await put("PUT", f"{path}/status", {"status": "ON_SALE", "reopen": True})
        refused(again, 409, "illegal_transition", current="COMPLETED", wanted="ON_SALE", legal=[])
        (await put("PUT", f"{path}/status", {"status": "COMPLETED"})).expect(200, status="COMPLETED")
        records = await office.organizer.items(f"{path}/outbox", "records")
        assert [each["eventType"] for each in records] == ["EVENT_CREATED", "EVENT_UPDATED", "EVENT_STATUS_CHANGED"]

        async def refusal() -> tuple[str | None, str | None]:
            problem = (await office.ann.take_hold(changed, {"quantity": 1})).json()
            return problem.get("code"), problem.get("eventStatus")  # a hold, until the change has arrived

        await eventually_equal(refusal, ("sale_closed", "COMPLETED"))


class TestHolds:
    async def test_a_decline_leaves_the_hold_two_minutes_and_then_it_is_freed(
        self, office: RunningBoxOffice, clock: ShiftedClock
    ) -> None:
        show_id = await office.create_show()
        path, hold = await hold_of(office, show_id)

        await advance(office, clock, 9.5 * MINUTE)
        declined = await book(office, office.ann, show_id, holdId=hold["holdId"], paymentMethod="pm_declined")
        kept = await office.ann.get(path)
        await advance(office, clock, MINUTE)
        still = await office.ann.get(path)

        assert declined["failureReason"] == "payment_declined"
        extended = datetime.fromisoformat(kept["expiresAt"]) - datetime.fromisoformat(hold["expiresAt"])
        assert timedelta(seconds=90) <= extended < timedelta(minutes=3)
        assert (kept["status"], still["status"], still["expiresAt"]) == ("ACTIVE", "ACTIVE", kept["expiresAt"])
        await advance(office, clock, 3 * MINUTE)
        await eventually_equal(lambda: office.counts(show_id), {"available": 12, "held": 0, "sold": 0, "blocked": 0})
        assert (await office.ann.get(path))["status"] == "EXPIRED"
        answer = await office.ann.book({"eventId": show_id, "holdId": hold["holdId"], "paymentMethod": "pm_ok"})
        refused(answer, 409, "hold_expired")

    async def test_another_card_pays_a_hold_within_its_grace(
        self, office: RunningBoxOffice, clock: ShiftedClock
    ) -> None:
        show_id = await office.create_show()
        _, hold = await hold_of(office, show_id)

        await advance(office, clock, 9.5 * MINUTE)
        await book(office, office.ann, show_id, holdId=hold["holdId"], paymentMethod="pm_declined")
        await advance(office, clock, MINUTE)
        paid = await book(office, office.ann, show_id, holdId=hold["holdId"])

        assert paid["status"] == "CONFIRMED"

    async def test_one_taken_in_time_is_paid_after_the_sale(
        self, office: RunningBoxOffice, clock: ShiftedClock
    ) -> None:
        show_id = await office.create_show(saleEndTime=moment(clock, 5 * MINUTE))
        _, hold = await hold_of(office, show_id)

        await advance(office, clock, 6 * MINUTE)

        refused(await office.bob.take_hold(show_id, {"quantity": 1}), 409, "sale_closed", eventStatus="ON_SALE")
        assert (await book(office, office.ann, show_id, holdId=hold["holdId"]))["status"] == "CONFIRMED"


class TestBookings:
    async def test_one_without_an_outcome_expires_after_two_minutes(
        self, office: RunningBoxOffice, clock: ShiftedClock
    ) -> None:
        show_id = await office.create_show()
        draft = {"eventId": show_id, "quantity": 1, "paymentMethod": "pm_slow"}
        made = (await office.ann.book(draft)).expect(201, status="PENDING").json()

        await advance(office, clock, 2 * MINUTE + 1)

        assert (await office.ann.wait_for_outcome(made["bookingId"]))["status"] == "EXPIRED"
        await eventually_equal(lambda: office.counts(show_id), {"available": 12, "held": 0, "sold": 0, "blocked": 0})


class TestWaitingList:
    async def test_offers_stop_when_the_sale_ends(self, office: RunningBoxOffice, clock: ShiftedClock) -> None:
        show_id = await small_show(office, 1, saleEndTime=moment(clock, DAY))
        path = f"/api/events/{show_id}/waitlist"
        booking = await book(office, office.ann, show_id)
        (await office.bob.request("POST", path, {})).expect(201, status="WAITING")

        await advance(office, clock, 25 * HOUR)
        (await office.ann.request("POST", f"/api/bookings/{booking['bookingId']}/cancel", {})).expect(200)

        await eventually_equal(lambda: office.counts(show_id), {"available": 1, "held": 0, "sold": 0, "blocked": 0})
        assert (await office.bob.get(f"{path}/me"))["status"] in {"WAITING", "LAPSED"}
        late = await office.ann.request("POST", path, {})
        refused(late, 409, "sale_closed")


class TestTickets:
    async def test_a_transfer_ends_after_three_days(self, office: RunningBoxOffice, clock: ShiftedClock) -> None:
        show_id = await office.create_show()
        booking = await book(office, office.ann, show_id)
        ticket = await ticket_of(office.ann, booking)
        path = f"/api/tickets/{ticket['ticketId']}/transfer"
        offer = (await office.ann.request("POST", path, {"email": "bob@example.com"})).expect(201).json()

        await advance(office, clock, 3 * DAY + MINUTE)

        accept = await office.bob.request("POST", f"/api/transfers/{offer['transferId']}/accept")
        refused(accept, 409, "transfer_expired")
        assert (await ticket_of(office.ann, booking))["code"] == ticket["code"]
        (await office.ann.request("POST", path, {"email": "bob@example.com"})).expect(201, status="PENDING")

    async def test_a_new_venue_reopens_full_refunds_for_two_weeks(
        self, office: RunningBoxOffice, clock: ShiftedClock
    ) -> None:
        terms = {"refundPercent": 50, "cancellableUntil": moment(clock, HOUR), "price": 10}
        show_id = await office.create_show(**terms)
        booking = await book(office, office.ann, show_id, quantity=3)
        path = f"/api/bookings/{booking['bookingId']}"
        ids = [each["ticketId"] for each in await office.ann.items(f"{path}/tickets", "tickets")]

        async def cancel(ticket_id: str) -> Any:
            return await office.ann.request("POST", f"{path}/cancel", {"ticketIds": [ticket_id]})

        (await cancel(ids[0])).expect(200, refunded=5)
        await advance(office, clock, 2 * HOUR)
        refused(await cancel(ids[1]), 409, "cancellation_closed")
        (await office.organizer.request("PUT", f"/api/events/{show_id}", {"venueName": "Elsewhere"})).expect(200)

        async def refunded() -> tuple[int, float | None]:
            answer = await cancel(ids[1])
            return answer.status, answer.json().get("refunded")

        await eventually_equal(refunded, (200, 15))
        await advance(office, clock, 14 * DAY + MINUTE)
        refused(await cancel(ids[2]), 409, "cancellation_closed")
