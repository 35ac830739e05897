"""Client of the ticketing system, through its gateway. The drill, the demo, benchmarks and tests use it."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, ClassVar, Final, Self

from portico.gateway_client import GatewayClient, NoResponse, Response, next_link

OPEN_STATUSES: Final = frozenset({"PENDING"})
"""Statuses of a booking that has no outcome yet."""

_MAX_PAGE_SIZE: Final = 100


@dataclass(frozen=True)
class TicketingClient(GatewayClient):
    """A client of the gateway of ticketing."""

    ticket_path: ClassVar[str] = "/api/auth/tickets"

    async def register(self, email: str, password: str, name: str) -> Self:
        """Create an account, and return a client that is signed in as it. Raises ExpectationFailed."""
        account = {"email": email, "password": password, "name": name}
        response = await self.request_until_final("POST", "/api/auth/register", account, key=secrets.token_hex(8))
        response.expect(HTTPStatus.CREATED, email=email)
        return await self.sign_in(email, password)

    async def sign_in(self, email: str, password: str) -> Self:
        """Return a client that is signed in. Raises ExpectationFailed."""
        response = await self.request_until_final("POST", "/api/auth/login", {"email": email, "password": password})
        session = response.expect(HTTPStatus.OK).json()
        return replace(self, token=session["accessToken"], user_id=session["user"]["userId"])

    async def create_show(self, draft: Mapping[str, Any], *, key: str = "") -> int:
        """Create a show; return its id. Raises ExpectationFailed."""
        response = await self.request_until_final("POST", "/api/events", draft, key=key or secrets.token_hex(8))
        return int(response.expect(HTTPStatus.CREATED).json()["eventId"])

    async def take_hold(
        self, show_id: int, wanted: Mapping[str, Any], *, admission: str = "", key: str = ""
    ) -> Response:
        """Request a hold; the response may be a refusal.

        Args:
            show_id: the show.
            wanted: the body of the request.
            admission: admission token of the waiting room.
            key: Idempotency-Key.
        """
        headers = {"x-admission-token": admission} if admission else {}
        path = f"/api/inventory/{show_id}/holds"
        return await self.request_until_final("POST", path, wanted, key=key or secrets.token_hex(8), headers=headers)

    async def book(self, draft: Mapping[str, Any], *, key: str = "") -> Response:
        """Make a booking; the response may be a refusal."""
        return await self.request_until_final("POST", "/api/bookings", draft, key=key or secrets.token_hex(8))

    async def wait_for_outcome(self, booking_id: str, *, every: float = 0.1) -> dict[str, Any]:
        """Return the booking once it has an outcome.

        Args:
            booking_id: the booking.
            every: seconds between requests.

        Raises:
            NoResponse: it has no outcome within the time of the retry policy.
        """
        try:
            async with asyncio.timeout(self.retry.within):
                while True:
                    booking: dict[str, Any] = await self.get(f"/api/bookings/{booking_id}")
                    if booking["status"] not in OPEN_STATUSES:
                        return booking
                    await asyncio.sleep(every)
        except TimeoutError as error:
            raise NoResponse(f"{booking_id} has no outcome after {self.retry.within:.0f} s") from error

    async def items(self, path: str, name: str) -> list[dict[str, Any]]:
        """Return all items of a list with numbered pages. `path` may have a query. Raises ExpectationFailed."""
        return [item async for page in self._pages(path, name) for item in page]

    async def _pages(self, path: str, name: str) -> AsyncIterator[Sequence[dict[str, Any]]]:
        following: str | None = f"{path}{'&' if '?' in path else '?'}size={_MAX_PAGE_SIZE}"
        while following is not None:
            response = (await self.request_until_final("GET", following)).expect(HTTPStatus.OK)
            yield response.json()[name]
            following = next_link(response.headers.get("link", ""))
