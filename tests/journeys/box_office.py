"""The ticketing system in the test's process, with an organizer, two buyers and a show on sale."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tests.gateway.proxy.servers import served
from tests.journeys.shop import ADMIN, PASSWORD, SETTINGS, TIMEOUT, create_databases

from portico.gateway_client import HttpTransport, Response
from portico.kit import Clock
from portico.kit.settings import Environment
from portico.systems.composition import Composition
from portico.systems.ticketing import ticketing
from portico.ticketing_client import TicketingClient

SHOW: Mapping[str, Any] = {
    "eventName": "Queen",
    "eventDate": "2100-03-01T19:00:00Z",
    "venueName": "Wembley Arena",
    "totalSeats": 12,
    "sections": [{"name": "Stalls", "rows": 2, "seatsPerRow": 6}],
    "status": "ON_SALE",
    "price": 49.5,
}


@dataclass
class RunningBoxOffice:
    """A running ticketing system: its organizer, two buyers, and a show with two rows of six seats at 49.50."""

    organizer: TicketingClient
    ann: TicketingClient
    bob: TicketingClient
    anonymous: TicketingClient
    show_id: int

    async def account(self, name: str, role: str | None = None) -> TicketingClient:
        """Return a client of a new account, which may have a role."""
        email = f"{name}-{secrets.token_hex(4)}@example.com"
        client = await self.anonymous.register(email, PASSWORD, name)
        if role is None:
            return client
        path = f"/api/users/{client.user_id}/roles"
        (await self.organizer.request("PUT", path, {"roles": [role]})).expect(200)
        return await self.anonymous.sign_in(email, PASSWORD)

    async def create_show(self, **changed: Any) -> int:
        """Create a show like the first one; return its id once its seats exist."""
        show_id = await self.organizer.create_show({**SHOW, **changed})
        await eventually_equal(lambda: self.status_of(f"/api/inventory/{show_id}"), 200)
        return show_id

    async def status_of(self, path: str) -> int:
        return (await self.organizer.request("GET", path)).status

    async def counts(self, show_id: int | None = None) -> dict[str, int]:
        """Return the number of places in each state."""
        found = await self.anonymous.get(f"/api/inventory/{show_id or self.show_id}")
        return {name: found[name] for name in ("available", "held", "sold", "blocked")}

    async def hold(self, buyer: TicketingClient, quantity: int) -> str:
        """Hold the best seats; return the id of the hold."""
        response = await buyer.take_hold(self.show_id, {"quantity": quantity})
        return str(response.expect(201, status="ACTIVE").json()["holdId"])

    async def pay(self, buyer: TicketingClient, hold_id: str, method: str = "pm_ok") -> dict[str, Any]:
        """Book the seats of a hold; return the booking once it has an outcome."""
        draft = {"eventId": self.show_id, "holdId": hold_id, "paymentMethod": method}
        made = (await buyer.book(draft)).expect(201, status="PENDING").json()
        return await buyer.wait_for_outcome(made["bookingId"])

    async def buy(self, buyer: TicketingClient, quantity: int) -> dict[str, Any]:
        """Hold the best seats and pay for them; return the confirmed booking."""
        booking = await self.pay(buyer, await self.hold(buyer, quantity))
        assert booking["status"] == "CONFIRMED", booking
        return booking

    async def tickets(self, buyer: TicketingClient, booking_id: str) -> list[dict[str, Any]]:
        return await buyer.items(f"/api/bookings/{booking_id}/tickets", "tickets")

    async def check_in(self, code: str) -> Response:
        return await self.organizer.request("POST", "/api/check-ins", {"code": code, "eventId": self.show_id})


async def eventually_equal(read: Any, expected: Any) -> None:
    """Wait until `read` returns `expected`."""
    async with asyncio.timeout(TIMEOUT):
        while await read() != expected:
            pass


@asynccontextmanager
async def run_box_office(
    variables: Mapping[str, str], *, clock: Clock | None = None
) -> AsyncIterator[RunningBoxOffice]:
    """Run the whole system in this process. `clock` is its source of the time."""
    if "DATABASE_URL" not in variables:
        await create_databases(ticketing, variables["DATA_DIR"])
    async with AsyncExitStack() as stack:
        environment = Environment({**SETTINGS, "RATE_LIMIT_HOLDS": "10000/minute", **variables})
        whole = await stack.enter_async_context(Composition(ticketing, environment, clock=clock))
        address = await stack.enter_async_context(served(whole.apps["gateway"]))
        transport = await stack.enter_async_context(HttpTransport(f"http://{address}"))
        anonymous = TicketingClient(transport)
        organizer = await anonymous.sign_in(**ADMIN)
        ann, bob = [await anonymous.register(f"{name}@example.com", PASSWORD, name) for name in ("ann", "bob")]
        office = RunningBoxOffice(organizer, ann, bob, anonymous, 0)
        office.show_id = await office.create_show()
        yield office
