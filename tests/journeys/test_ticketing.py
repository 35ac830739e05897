"""The ticketing system in one process, used through the gateway: a show is booked, cancelled and reconciled."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.proxy.servers import served
from tests.journeys.shop import ADMIN, PASSWORD, SETTINGS, TIMEOUT

from portico.gateway_client import GatewayClient, HttpTransport
from portico.kit.settings import Environment
from portico.systems.composition import Composition
from portico.systems.ticketing import ticketing

EVENT = {
    "eventName": "Queen",
    "eventDate": "2099-03-01T19:00:00Z",
    "venueName": "Wembley Arena",
    "totalSeats": 30,
    "status": "ON_SALE",
    "price": 49.5,
    "sections": [
        {"name": "Stalls", "rows": 2, "seatsPerRow": 10, "price": 80},
        {"name": "Floor", "capacity": 10},
    ],
}


@dataclass
class House:
    """A running ticketing system with a show on sale, its administrator and a buyer."""

    admin: GatewayClient
    jane: GatewayClient
    event_id: int

    async def book(self, **wanted: Any) -> dict[str, Any]:
        """Book as Jane, and return the booking once it has an outcome."""
        body = {"eventId": self.event_id, "paymentMethod": "pm_ok", **wanted}
        answer = (await self.jane.request("POST", "/api/bookings", body)).expect(201, status="PENDING")
        return await self.settled(answer.json()["bookingId"])

    async def settled(self, booking_id: str) -> dict[str, Any]:
        async with asyncio.timeout(TIMEOUT):
            while True:
                booking: dict[str, Any] = await self.jane.get(f"/api/bookings/{booking_id}")
                if booking["status"] != "PENDING":
                    return booking

    async def counts(self) -> tuple[int, int, int]:
        found = await self.jane.get(f"/api/inventory/{self.event_id}")
        return found["available"], found["held"], found["sold"]

    async def wait_for_counts(self, *counts: int) -> None:
        async def has_them() -> bool:
            return await self.counts() == counts

        await until(has_them)


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    """Ask until the answer is yes."""
    async with asyncio.timeout(TIMEOUT):
        while not await is_so():
            pass


async def signed_in(client: GatewayClient, email: str, password: str) -> GatewayClient:
    answer = await client.request("POST", "/api/auth/login", {"email": email, "password": password})
    return GatewayClient(client.transport, token=answer.expect(200).json()["accessToken"])


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        settings = Environment({**SETTINGS, "DATA_DIR": str(tmp_path)})
        whole = await stack.enter_async_context(Composition(ticketing, settings))
        address = await stack.enter_async_context(served(whole.apps["gateway"]))
        transport = await stack.enter_async_context(HttpTransport(f"http://{address}"))
        anonymous = GatewayClient(transport)
        admin = await signed_in(anonymous, **ADMIN)
        account = {"email": "jane@example.com", "password": PASSWORD, "name": "Jane"}
        (await anonymous.request("POST", "/api/auth/register", account)).expect(201)
        jane = await signed_in(anonymous, account["email"], PASSWORD)
        event_id = (await admin.request("POST", "/api/events", EVENT)).expect(201).json()["eventId"]
        house = House(admin, jane, event_id)

        async def has_seats() -> bool:
            return (await jane.request("GET", f"/api/inventory/{event_id}")).status == 200

        await until(has_seats)
        yield house


class TestBooking:
    async def test_a_show_is_booked_cancelled_and_reconciled(self, house: House) -> None:
        seats = await house.book(seats=["1-A-1", "1-A-2"], amount=160)
        floor = await house.book(quantity=2, section="Floor")
        declined = await house.book(quantity=1, paymentMethod="pm_declined")

        assert [each["status"] for each in (seats, floor, declined)] == ["CONFIRMED", "CONFIRMED", "FAILED"]
        assert declined["failureReason"] == "payment_declined"
        await house.wait_for_counts(26, 0, 4)
        listed = await house.jane.get("/api/bookings?status=CONFIRMED&size=1")
        assert listed["page"] == {"number": 0, "size": 1, "totalElements": 2, "totalPages": 2}
        tickets = (await house.jane.get(f"/api/bookings/{seats['bookingId']}/tickets"))["tickets"]
        assert {each["seat"] for each in tickets} == {"1-A-1", "1-A-2"}
        (payment,) = await house.jane.get(f"/api/bookings/{seats['bookingId']}/payments")
        assert (payment["status"], payment["amount"]) == ("succeeded", 160)

        cancelled = await house.jane.request("POST", f"/api/bookings/{seats['bookingId']}/cancel", {})
        cancelled.expect(200, status="CANCELLED", refunded=160)
        await house.wait_for_counts(28, 0, 2)

        taken = await house.jane.request(
            "POST", "/api/bookings", {"eventId": house.event_id, "quantity": 1, "amount": 1}
        )
        taken.expect(409, code="price_changed", actual=80)
        summary = await house.admin.get(f"/api/bookings/summary?eventId={house.event_id}")
        assert (summary["confirmed"], summary["cancelled"], summary["tickets"]) == (1, 1, 2)
        assert (summary["gross"], summary["refunded"], summary["net"]) == (259, 160, 99)

        async def matches() -> bool:
            return bool((await house.admin.get("/api/ledger/reconcile"))["matches"])

        await until(matches)
        report = await house.admin.get("/api/ledger/reconcile")
        assert (report["checked"]["bookings"], "orders" in report["checked"]) == (3, False)

    async def test_a_cancelled_show_gives_everything_back(self, house: House) -> None:
        booking = await house.book(quantity=2)

        status = {"status": "CANCELLED"}
        (await house.admin.request("PUT", f"/api/events/{house.event_id}/status", status)).expect(200)

        async def is_cancelled() -> bool:
            found = await house.jane.get(f"/api/bookings/{booking['bookingId']}")
            return (found["status"], found["refunded"]) == ("CANCELLED", booking["amount"])

        async def is_empty() -> bool:
            return (await house.counts())[1:] == (0, 0)

        await until(is_cancelled)
        await until(is_empty)
