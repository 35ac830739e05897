"""Buyers of a show: they queue, hold seats, pay, give up, cancel, and wait for seats that are returned."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import count
from typing import Any, Final

from portico.demo.accounts import Account
from portico.demo.walkthrough import Walk
from portico.gateway_client import ExpectationFailed, Response
from portico.ticketing_client import TicketingClient

QUANTITIES: Final = (1, 2, 2, 3)
"""How many seats buyers want, in turn."""
NO_SEATS: Final = frozenset({"not_enough_seats", "sold_out"})

_DECLINED: Final = (10, 3)  # every tenth buyer, from the fourth on
_RUNS_OUT: Final = (25, 7)
_CANCELS: Final = (20, 11)
_LARGE_HALL: Final = 1_000  # buyers
_POLL: Final = 1.0  # seconds


@dataclass
class Buyer:
    """A buyer.

    number: their position among all buyers; it decides what they do.
    outcome: what came of it; empty while they are busy.
    bookings: ids of their confirmed bookings.
    """

    number: int
    account: Account
    outcome: str = ""
    bookings: list[str] = field(default_factory=list)

    @property
    def quantity(self) -> int:
        return QUANTITIES[self.number % len(QUANTITIES)]

    @property
    def has_declined_card(self) -> bool:
        """Whether their first card is declined. They pay with another one."""
        return _is_one_of(self.number, _DECLINED)

    @property
    def lets_hold_run_out(self) -> bool:
        return _is_one_of(self.number, _RUNS_OUT)

    @property
    def cancels(self) -> bool:
        """Whether they cancel their booking once the show is sold out."""
        return _is_one_of(self.number, _CANCELS)


@dataclass
class BoxOffice:
    """The sale of a show to buyers who come at the same time.

    Args:
        walk: to the gateway.
        show_id: the show.
        buyers: the buyers.
        suffix: makes Idempotency-Keys differ from those of other walkthroughs.

    Attributes:
        sold_out: set while the show is SOLD_OUT: the waiting room admits no one then.
    """

    walk: Walk
    show_id: int
    buyers: Sequence[Buyer]
    suffix: str
    sold_out: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def outcomes(self) -> Counter[str]:
        """How many buyers have each outcome."""
        return Counter(buyer.outcome or "shopping" for buyer in self.buyers)

    async def shop(self, buyer: Buyer) -> None:
        """Buy seats: queue, hold, pay. Raises ExpectationFailed if a response is not as promised."""
        client = self._client(buyer)
        admission = await self._wait_in_queue(client)
        for attempt in count():
            if admission is None:
                await self._join_waiting_list(client, buyer)
                break
            key = self._key(buyer, f"hold-{attempt}")
            hold = await client.take_hold(self.show_id, {"quantity": buyer.quantity}, admission=admission, key=key)
            if hold.status != HTTPStatus.CREATED:
                _check_no_seats(hold)
                await self._join_waiting_list(client, buyer)
                break
            if buyer.lets_hold_run_out:
                buyer.outcome = "let the hold run out"
                break
            if await self._pay(client, buyer, hold.json()["holdId"], outcome="booked"):
                break
        await client.request_until_final("DELETE", f"/api/queue/{self.show_id}")

    async def cancel(self, buyer: Buyer) -> None:
        """Cancel the buyer's booking. Raises ExpectationFailed."""
        for booking_id in buyer.bookings:
            path = f"/api/bookings/{booking_id}/cancel"
            response = await self._client(buyer).request_until_final("POST", path, {}, key=self._key(buyer, "cancel"))
            response.expect(HTTPStatus.OK, status="CANCELLED")
        buyer.outcome = "cancelled"

    async def take_offer(self, buyer: Buyer) -> bool:
        """Pay for the seats that the waiting list offers, if it does. Return whether the buyer still waits."""
        client = self._client(buyer)
        entry = await client.get(f"/api/events/{self.show_id}/waitlist/me")
        if entry["status"] == "WAITING":
            return True
        paid = entry["status"] == "OFFERED" and await self._pay(
            client, buyer, entry["holdId"], outcome="booked from the waiting list"
        )
        if not paid:
            buyer.outcome = "let an offer lapse"
        return False

    async def leave(self, buyer: Buyer) -> None:
        """Leave the waiting list. Raises ExpectationFailed."""
        path = f"/api/events/{self.show_id}/waitlist/me"
        (await self._client(buyer).request_until_final("DELETE", path)).expect(HTTPStatus.NO_CONTENT)
        buyer.outcome = "left without seats"

    async def watch(self) -> None:
        """Keep `sold_out` up to date until cancelled. Raises ExpectationFailed, NoResponse."""
        client = self.walk.client_of(TicketingClient)
        while True:
            show = await client.get(f"/api/events/{self.show_id}")
            if show["status"] == "SOLD_OUT":
                self.sold_out.set()
            else:
                self.sold_out.clear()
            await asyncio.sleep(_POLL)

    async def _wait_in_queue(self, client: TicketingClient) -> str | None:
        """Join the waiting room, and follow it until admitted; return the admission token, or None if the show is sold out."""
        path = f"/api/queue/{self.show_id}"
        joined = await client.request_until_final("POST", path)
        if joined.status == HTTPStatus.CONFLICT:
            joined.expect(HTTPStatus.CONFLICT, code="sold_out")
            return None
        if joined.status != HTTPStatus.OK:  # a repeated request has 200
            joined.expect(HTTPStatus.CREATED)
        place = joined.json()
        if place["status"] != "ADMITTED":
            place = await self._follow_queue(client, path)
        return None if place is None else str(place["admissionToken"])

    async def _follow_queue(self, client: TicketingClient, path: str) -> Any | None:
        """Return the place once it is admitted, or None if the show is sold out before."""
        admitted = asyncio.create_task(
            self.walk.next_event(path, token=client.token, until=lambda event: bool(event.get("status") == "ADMITTED"))
        )
        sold_out = asyncio.create_task(self.sold_out.wait())
        try:
            await asyncio.wait({admitted, sold_out}, return_when=asyncio.FIRST_COMPLETED)
            return admitted.result() if admitted.done() else None
        finally:
            admitted.cancel()
            sold_out.cancel()

    async def _pay(self, client: TicketingClient, buyer: Buyer, hold_id: str, *, outcome: str) -> bool:
        """Pay for a hold, with another card if the first is declined. Return False if the hold ran out before."""
        methods = ("pm_declined", "pm_ok") if buyer.has_declined_card else ("pm_ok",)
        for method in methods:
            draft = {"eventId": self.show_id, "holdId": hold_id, "paymentMethod": method}
            made = await client.book(draft, key=self._key(buyer, f"{hold_id}-{method}"))
            if made.status == HTTPStatus.CONFLICT:
                made.expect(HTTPStatus.CONFLICT, code="hold_expired")
                return False
            booking_id = made.expect(HTTPStatus.CREATED).json()["bookingId"]
            booking = await client.wait_for_outcome(booking_id, every=_POLL)
            if booking["status"] == "CONFIRMED":
                buyer.bookings.append(booking_id)
                buyer.outcome = outcome
                return True
            if booking["failureReason"] == "hold_lost":
                return False
            if booking["failureReason"] != "payment_declined" or method == "pm_ok":
                raise ExpectationFailed(f"{booking_id}: {booking['status']} {booking['failureReason']}")
        return False

    async def _join_waiting_list(self, client: TicketingClient, buyer: Buyer) -> None:
        path = f"/api/events/{self.show_id}/waitlist"
        joined = await client.request_until_final(
            "POST", path, {"quantity": buyer.quantity}, key=self._key(buyer, "wait")
        )
        if joined.status == HTTPStatus.CONFLICT:  # seats came free meanwhile
            joined.expect(HTTPStatus.CONFLICT, code="seats_available")
            buyer.outcome = "left without seats"
            return
        joined.expect(HTTPStatus.CREATED)
        buyer.outcome = "on the waiting list"

    def _client(self, buyer: Buyer) -> TicketingClient:
        return self.walk.client_of(TicketingClient, buyer.account.token)

    def _key(self, buyer: Buyer, what: str) -> str:
        return f"{self.suffix}-{buyer.number}-{what}"


def sections_for(buyers: int) -> list[Mapping[str, Any]]:
    """Return the sections of a hall with about five seats for three buyers, who want two each."""
    seats_per_row = 50 if buyers >= _LARGE_HALL else 10
    rows = max(3, round(buyers * 5 / 3 / seats_per_row))
    stalls, circle = rows * 2 // 5, rows * 3 // 10
    return [
        {"name": "Stalls", "rows": stalls, "seatsPerRow": seats_per_row, "price": 90.0},
        {"name": "Circle", "rows": circle, "seatsPerRow": seats_per_row, "price": 60.0},
        {"name": "Balcony", "rows": rows - stalls - circle, "seatsPerRow": seats_per_row},
    ]


def _check_no_seats(refused: Response) -> None:
    """Raise ExpectationFailed unless a hold was refused because too few seats are free."""
    code = refused.expect(HTTPStatus.CONFLICT).json()["code"]
    if code not in NO_SEATS:
        raise ExpectationFailed(f"{refused.request}: expected one of {sorted(NO_SEATS)}, got {code}")


def _is_one_of(number: int, rule: tuple[int, int]) -> bool:
    every, first = rule
    return number % every == first
