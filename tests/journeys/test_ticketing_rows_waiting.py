"""The rows of waiting lists and waiting rooms in the ticketing system, through its gateway."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.journeys.box_office import RunningBoxOffice, eventually_equal
from tests.journeys.rows import BACKENDS, is_paged, office_on, refused, refuses_bodies, walked

from portico.gateway_client import HttpTransport
from portico.ticketing_client import TicketingClient

ENTRY_FIELDS = {
    "entryId", "eventId", "userId", "quantity", "position", "status", "holdId", "expiresAt", "joinedAt",
}  # fmt: skip
PLACE_FIELDS = {
    "queueId", "eventId", "number", "position", "status", "estimatedSeconds", "joinedAt", "admissionToken",
    "admittedUntil",
}  # fmt: skip


@pytest.fixture(scope="module", params=BACKENDS)
async def office(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RunningBoxOffice]:
    async with office_on(request, tmp_path_factory.mktemp("rows"), WAITING_ROOM_SHOPPERS="1") as office:
        yield office


def moment(**spans: float) -> str:
    return (datetime.now(UTC) + timedelta(**spans)).isoformat().replace("+00:00", "Z")


async def small_show(office: RunningBoxOffice, seats: int, **changed: Any) -> int:
    """Create a show with one row."""
    sections = [{"name": "Row", "rows": 1, "seatsPerRow": seats}]
    return await office.create_show(totalSeats=seats, sections=sections, **changed)


async def buy(office: RunningBoxOffice, buyer: TicketingClient, show_id: int, quantity: int) -> str:
    """Buy places; return the id of the booking."""
    draft = {"eventId": show_id, "quantity": quantity, "paymentMethod": "pm_ok"}
    made = (await buyer.book(draft)).expect(201).json()
    assert (await buyer.wait_for_outcome(made["bookingId"]))["status"] == "CONFIRMED"
    return str(made["bookingId"])


class TestWaitingList:
    async def test_what_comes_free_goes_to_the_oldest_entry_that_it_fits(self, office: RunningBoxOffice) -> None:
        show_id = await small_show(office, 2)
        path = f"/api/events/{show_id}/waitlist"
        large, small, last = [await office.account(name) for name in ("large", "small", "last")]

        early = await large.request("POST", path, {})
        hold = (await office.ann.take_hold(show_id, {"quantity": 2})).expect(201).json()
        joined = [
            (await who.request("POST", path, {"quantity": quantity})).expect(201).json()
            for who, quantity in ((large, 3), (small, 2), (last, 1))
        ]
        again = await small.request("POST", path, {})

        refused(early, 409, "seats_available", available=2)
        assert [each["position"] for each in joined] == [1, 2, 3]
        first = joined[0]
        assert first.keys() == ENTRY_FIELDS
        assert (first["eventId"], first["quantity"], first["status"]) == (show_id, 3, "WAITING")
        assert (first["holdId"], first["expiresAt"]) == (None, None)
        refused(again, 409, "already_waiting", entryId=joined[1]["entryId"])

        await office.ann.request("DELETE", f"/api/inventory/{show_id}/holds/{hold['holdId']}")
        offered = await small.get(f"{path}/me")
        assert (offered["status"], offered["position"]) == ("OFFERED", None)
        assert (await large.get(f"{path}/me"))["position"] == 1
        assert await office.counts(show_id) == {"available": 0, "held": 2, "sold": 0, "blocked": 0}
        lasting = datetime.fromisoformat(offered["expiresAt"]) - datetime.now(UTC)
        assert timedelta(minutes=29) < lasting < timedelta(minutes=30)
        its_hold = await small.get(f"/api/inventory/{show_id}/holds/{offered['holdId']}")
        assert (its_hold["status"], its_hold["quantity"]) == ("ACTIVE", 2)

        assert (await small.request("DELETE", f"{path}/me")).status == 204
        assert (await small.get(f"{path}/me"))["status"] == "LEFT"
        assert (await last.get(f"{path}/me"))["status"] == "OFFERED"
        entries = await walked(office.organizer, path, "entries")
        assert [each["status"] for each in entries] == ["WAITING", "LEFT", "OFFERED"]
        await is_paged(office.organizer, path, "entries")
        await refuses_bodies(large, path, [{"quantity": 0}, {"quantity": 10**12}, {"colour": "red"}])

    async def test_an_offer_is_booked_and_who_cancels_is_not_put_back(self, office: RunningBoxOffice) -> None:
        show_id = await small_show(office, 1)
        path = f"/api/events/{show_id}/waitlist"
        first, second = await office.account("first"), await office.account("second")
        booking_id = await buy(office, office.ann, show_id, 1)
        for who in (first, second):
            (await who.request("POST", path, {})).expect(201, status="WAITING")

        (await office.ann.request("POST", f"/api/bookings/{booking_id}/cancel", {})).expect(200)

        async def status(who: TicketingClient) -> str:
            return str((await who.get(f"{path}/me"))["status"])

        await eventually_equal(lambda: status(first), "OFFERED")
        entry = await first.get(f"{path}/me")
        draft = {"eventId": show_id, "holdId": entry["holdId"], "paymentMethod": "pm_ok"}
        made = (await first.book(draft)).expect(201).json()
        assert (await first.wait_for_outcome(made["bookingId"]))["status"] == "CONFIRMED"
        await eventually_equal(lambda: status(first), "BOOKED")
        (await first.request("POST", f"/api/bookings/{made['bookingId']}/cancel", {})).expect(200)
        await eventually_equal(lambda: status(second), "OFFERED")
        assert await status(first) == "BOOKED"
        refused(await office.bob.request("GET", f"{path}/me"), 404, "waitlist_entry_not_found")
        refused(await office.bob.request("GET", "/api/events/1/waitlist/me"), 404, "event_not_found")

    async def test_a_cancelled_show_ends_its_list(self, office: RunningBoxOffice) -> None:
        show_id = await small_show(office, 1)
        path = f"/api/events/{show_id}/waitlist"
        await buy(office, office.ann, show_id, 1)
        waiting = await office.account("waiting")
        (await waiting.request("POST", path, {})).expect(201)

        await office.organizer.request("PUT", f"/api/events/{show_id}/status", {"status": "CANCELLED"})

        async def status() -> str:
            return str((await waiting.get(f"{path}/me"))["status"])

        await eventually_equal(status, "LAPSED")
        refused(await office.bob.request("POST", path, {}), 409, "sale_closed", eventStatus="CANCELLED")


class TestWaitingRoom:
    async def test_admits_in_order_and_holds_need_the_token(self, office: RunningBoxOffice) -> None:
        show_id = await small_show(office, 6, waitingRoom="ON")
        path = f"/api/queue/{show_id}"
        first, second, third = [await office.account(name) for name in ("one", "two", "three")]

        made = [(await who.request("POST", path)).expect(201).json() for who in (first, second, third)]
        again = (await second.request("POST", path)).expect(200).json()

        assert [each["number"] for each in made] == [1, 2, 3]
        assert all(each.keys() == PLACE_FIELDS for each in made)
        assert (again["queueId"], again["status"]) == (made[1]["queueId"], "WAITING")
        assert (made[1]["admissionToken"], made[1]["admittedUntil"]) == (None, None)

        async def place(who: TicketingClient) -> tuple[str, int]:
            found = await who.get(path)
            return found["status"], found["position"]

        await eventually_equal(lambda: place(first), ("ADMITTED", 0))
        assert [await place(each) for each in (second, third)] == [("WAITING", 1), ("WAITING", 2)]
        token = (await first.get(path))["admissionToken"]
        refused(await first.take_hold(show_id, {"quantity": 1}), 403, "admission_required")
        refused(await second.take_hold(show_id, {"quantity": 1}, admission=token), 403, "admission_required")
        forged = token[:-2] + ("AA" if token[-2:] != "AA" else "BB")
        old = f"0{token[1:]}"
        for wrong in (forged, old, "nonsense"):
            refused(await first.take_hold(show_id, {"quantity": 1}, admission=wrong), 403, "admission_required")
        hold = (await first.take_hold(show_id, {"quantity": 1}, admission=token)).expect(201).json()
        draft = {"eventId": show_id, "holdId": hold["holdId"], "paymentMethod": "pm_ok"}
        made_booking = (await first.book(draft)).expect(201).json()
        await first.wait_for_outcome(made_booking["bookingId"])

        await eventually_equal(lambda: place(second), ("ADMITTED", 0))
        assert (await second.request("DELETE", path)).status == 204
        await eventually_equal(lambda: place(third), ("ADMITTED", 0))
        refused(await second.request("GET", path), 404, "not_in_queue")
        await self.check_ledger(office, show_id)

    async def check_ledger(self, office: RunningBoxOffice, show_id: int) -> None:
        entries = await walked(office.anonymous, f"/api/queue/{show_id}/ledger", "entries", size=2)
        before = hashlib.sha256(f"queue {show_id}".encode()).hexdigest()
        for each in entries:
            assert {"number", "joinedAt", "admittedAt", "hash"} <= each.keys()
            times = [each[name] or "-" for name in ("joinedAt", "admittedAt", "leftAt")]
            before = hashlib.sha256("\n".join([before, str(each["number"]), *times]).encode()).hexdigest()
            assert each["hash"] == before
        assert [each["number"] for each in entries if each["admittedAt"]] == [1, 2, 3]
        await is_paged(office.anonymous, f"/api/queue/{show_id}/ledger", "entries")

    async def test_streams_the_place_until_the_admission(self, office: RunningBoxOffice) -> None:
        show_id = await small_show(office, 6, waitingRoom="ON")
        path = f"/api/queue/{show_id}"
        first, second = await office.account("one"), await office.account("two")
        (await first.request("POST", path)).expect(201)
        (await second.request("POST", path)).expect(201)
        transport = second.transport
        assert isinstance(transport, HttpTransport)

        places: list[dict[str, Any]] = []
        async with asyncio.timeout(60), aclosing(transport.events(path, second.authorization)) as events:
            async for place in events:
                places.append(place)
                if len(places) == 1:
                    await first.request("DELETE", path)
                if place["status"] == "ADMITTED":
                    break

        assert (places[0]["status"], places[0].keys()) == ("WAITING", PLACE_FIELDS)
        hold = await second.take_hold(show_id, {"quantity": 1}, admission=places[-1]["admissionToken"])
        hold.expect(201)

    async def test_off_admits_at_once_and_auto_only_while_it_is_crowded(self, office: RunningBoxOffice) -> None:
        off, auto = await small_show(office, 6), await small_show(office, 6, waitingRoom="AUTO")
        first, second = await office.account("one"), await office.account("two")

        for show_id in (off, auto):
            (await first.request("POST", f"/api/queue/{show_id}")).expect(201)
        (await second.request("POST", f"/api/queue/{off}")).expect(201, status="ADMITTED")
        (await second.take_hold(auto, {"quantity": 1})).expect(201)

        async def status(show_id: int) -> str:
            return str((await first.get(f"/api/queue/{show_id}"))["status"])

        await eventually_equal(lambda: status(off), "ADMITTED")

    async def test_ends_when_the_show_is_cancelled(self, office: RunningBoxOffice) -> None:
        show_id = await small_show(office, 6, waitingRoom="ON")
        path, waiting = f"/api/queue/{show_id}", await office.account("waiting")
        (await waiting.request("POST", path)).expect(201)

        await office.organizer.request("PUT", f"/api/events/{show_id}/status", {"status": "CANCELLED"})

        async def status() -> int:
            return (await waiting.request("GET", path)).status

        await eventually_equal(status, 404)
        refused(await waiting.request("POST", path), 409, "sale_closed", eventStatus="CANCELLED")

    async def test_opens_before_the_sale_and_ends_with_it(self, office: RunningBoxOffice) -> None:
        starts = datetime.now(UTC) + timedelta(hours=1)
        early = await small_show(office, 6, waitingRoom="ON", saleStartTime=starts.isoformat())
        soon = await small_show(office, 6, waitingRoom="ON", saleStartTime=moment(minutes=5))
        over = await small_show(office, 6, waitingRoom="ON", saleEndTime=moment(hours=-1))
        join = office.ann.request

        refusal = refused(await join("POST", f"/api/queue/{early}"), 409, "queue_not_open")
        place = (await join("POST", f"/api/queue/{soon}")).expect(201, status="WAITING", position=1).json()

        assert datetime.fromisoformat(refusal["opensAt"]) == starts - timedelta(minutes=15)
        assert place["estimatedSeconds"] > 200
        refused(await join("POST", f"/api/queue/{over}"), 409, "sale_closed")
        refused(await join("POST", "/api/queue/1"), 404, "event_not_found")
        refused(await join("GET", f"/api/queue/{over}"), 404, "not_in_queue")
