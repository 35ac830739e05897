"""Buyers of a show under drill. The seed determines what they do; they repeat requests until a final response."""

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from portico.drill.customers import METHOD_WEIGHTS, PASSWORD, Watchdog, client_of
from portico.drill.ticketing_queue_checks import SeenWaits
from portico.gateway_client import ExpectationFailed, NoResponse, Response
from portico.kit.calls.channel import Channel
from portico.kit.foundation.backoff import Backoff
from portico.ticketing_client import TicketingClient

EXPECTED: Final[Mapping[str, frozenset[str]]] = {
    "queue": frozenset({"sold_out"}),
    "hold": frozenset({"not_enough_seats", "sold_out", "seat_limit_reached", "admission_required"}),
    "booking": frozenset({"hold_expired", "hold_used", "hold_in_use"}),
    "cancellation": frozenset({"illegal_transition", "ticket_used"}),
    "waitlist": frozenset({"seats_available", "already_waiting", "seat_limit_reached"}),
    "check-in": frozenset({"already_checked_in", "ticket_cancelled"}),
}
"""The refusals of each kind of request that a buyer may get."""

SEATS_PER_ROW: Final = 10
SEATS_PER_USER: Final = 4  # fewer than two buyers who share an account may want

_TIMEOUT: Final = 120.0  # seconds without any progress
_POLLS: Final = Backoff(base=0.05, limit=1.0)
_OFFER_POLLS: Final = 8  # polls after which a buyer leaves the waiting list
_SHARERS: Final = 5  # every fifth buyer shares an account with the one before
_RELEASED: Final = 0.08  # share of holds that are given back
_ABANDONED: Final = 0.08  # share of holds that run out
_CANCELLED: Final = 0.12  # share of bookings that are cancelled in whole
_PARTLY_CANCELLED: Final = 0.06
_CHECKED_IN: Final = 0.3
_WAITS: Final = 0.4  # share of refused buyers who join the waiting list
_SHOW_CHANGES: Final = 10  # staff changes the show before every tenth buyer


@dataclass
class Buyers:
    """The buyers of one drill.

    Args:
        channel: the way to the gateway.
        seed: determines what they do.
        staff: a client with all permissions.
        concurrency: how many act at the same time.
        on_done: called with the number of buyers who are done, after each.

    Attributes:
        acknowledged: the ids of acknowledged bookings, by idempotency key.
        waits: what they saw of the waiting list.
        errors: requests that were not answered as documented.
    """

    channel: Channel
    seed: int
    staff: TicketingClient
    concurrency: int
    on_done: Callable[[int], None]
    show_id: int = 0
    done: int = 0
    clients: list[TicketingClient] = field(default_factory=list)
    acknowledged: dict[str, str] = field(default_factory=dict)
    waits: SeenWaits = field(default_factory=SeenWaits)
    errors: list[str] = field(default_factory=list)
    watchdog: Watchdog = field(default_factory=lambda: Watchdog(_TIMEOUT))

    async def set_up(self, buyers: int, seats: int) -> None:
        """Register buyers, and put a show on sale whose seats are seated and standing. Raises ExpectationFailed."""
        anonymous = client_of(TicketingClient, self.channel)
        for number in range(max(1, buyers - buyers // _SHARERS)):
            email = f"buyer-{self.seed}-{number}@example.com"
            self.clients.append(await anonymous.register(email, PASSWORD, f"Buyer {number}"))
        rows = max(1, seats * 4 // 5 // SEATS_PER_ROW)
        standing = seats - rows * SEATS_PER_ROW
        sections: list[dict[str, Any]] = [{"name": "Stalls", "rows": rows, "seatsPerRow": SEATS_PER_ROW, "price": 80}]
        if standing > 0:
            sections.append({"name": "Floor", "capacity": standing})
        show = {
            "eventName": f"Drill {self.seed}",
            "eventDate": "2100-01-01T20:00:00Z",
            "venueName": "Hall",
            "totalSeats": rows * SEATS_PER_ROW + max(0, standing),
            "sections": sections,
            "price": 35,
            "status": "ON_SALE",
            "waitingRoom": "ON",
            "maxSeatsPerUser": SEATS_PER_USER,
        }
        self.show_id = await self.staff.create_show(show, key=f"show-{self.seed}")
        for attempt in range(1, 1000):
            if (await self.staff.request("GET", f"/api/inventory/{self.show_id}")).status == HTTPStatus.OK:
                return
            await asyncio.sleep(_POLLS.delay(attempt))
        raise NoResponse(f"the seats of {self.show_id} do not exist")

    async def buy(self, buyers: int) -> None:
        """Let all buyers act, some at the same time."""
        numbers = iter(range(buyers))
        self.watchdog.reset()

        async def buy_next() -> None:
            for number in numbers:
                try:
                    if number % _SHOW_CHANGES == 0:
                        await self._change_show(number)
                    await _Buyer(self, number).act()
                except ExpectationFailed as error:
                    self.errors.append(f"buyer {number}: {error}")
                self.done += 1
                self.watchdog.reset()
                self.on_done(self.done)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(self.concurrency, buyers)):
                group.create_task(buy_next())

    async def _change_show(self, number: int) -> None:
        body = {"description": f"Before buyer {number} arrived"}
        path = f"/api/events/{self.show_id}"
        (await self.staff.request_until_final("PUT", path, body)).expect(HTTPStatus.OK)


class _Buyer:
    """One buyer: queues, holds places, pays, and perhaps cancels or is checked in."""

    def __init__(self, buyers: Buyers, number: int) -> None:
        self._all = buyers
        self._show = buyers.show_id
        self._client = buyers.clients[number % len(buyers.clients)]
        self._chance = random.Random(f"{buyers.seed}/buyer/{number}")  # noqa: S311  # repeatable, not secret
        self._key = f"drill-{buyers.seed}-{number}"

    async def act(self) -> None:
        quantity = self._chance.randint(1, 3)
        admission = await self._wait_for_admission()
        is_done = admission is not None and await self._try_to_hold(quantity, admission)
        if not is_done and self._chance.random() < _WAITS:
            await self._wait_for_offer(quantity)
        await self._client.request_until_final("DELETE", f"/api/queue/{self._show}")

    async def _wait_for_admission(self) -> str | None:
        """Return the admission token, or None if the show is sold out before. Raises NoResponse if no buyer progresses."""
        path, polls = f"/api/queue/{self._show}", 0
        response = await self._client.request_until_final("POST", path)
        while True:
            if response.status == HTTPStatus.NOT_FOUND:  # another buyer with this account has left
                response = await self._client.request_until_final("POST", path)
            if response.status not in {HTTPStatus.OK, HTTPStatus.CREATED}:
                _refused("queue", response)
                return None
            place = response.json()
            if place["status"] == "ADMITTED":
                return str(place["admissionToken"])
            if (await self._client.get(f"/api/events/{self._show}"))["status"] == "SOLD_OUT":
                return None  # no one is admitted before places return that the waiting list leaves
            if self._all.watchdog.has_expired:
                raise NoResponse(f"no admission, and no buyer was done for {_TIMEOUT:.0f} s")
            polls += 1
            await asyncio.sleep(_POLLS.delay(polls))
            response = await self._client.request_until_final("GET", path)

    async def _try_to_hold(self, quantity: int, admission: str) -> bool:
        """Hold places and use the hold. Return False if there are too few places."""
        hold = await self._client.take_hold(
            self._show, {"quantity": quantity}, admission=admission, key=f"{self._key}-hold"
        )
        if hold.status != HTTPStatus.CREATED:
            return _refused("hold", hold) not in {"not_enough_seats", "sold_out"}
        await self._use(hold.json()["holdId"])
        return True

    async def _use(self, hold_id: str) -> None:
        choice = self._chance.random()
        if choice < _RELEASED:
            path = f"/api/inventory/{self._show}/holds/{hold_id}"
            (await self._client.request_until_final("DELETE", path)).expect(HTTPStatus.NO_CONTENT)
        elif choice >= _RELEASED + _ABANDONED:
            await self._book(hold_id)

    async def _book(self, hold_id: str) -> None:
        [method] = self._chance.choices(list(METHOD_WEIGHTS), list(METHOD_WEIGHTS.values()))
        draft = {"eventId": self._show, "holdId": hold_id, "paymentMethod": method}
        key = f"{self._key}-{hold_id}"
        made = await self._client.book(draft, key=key)
        if made.status != HTTPStatus.CREATED:
            _refused("booking", made)
            return
        booking_id = str(made.json()["bookingId"])
        self._all.acknowledged[key] = booking_id
        if await self._outcome(booking_id) == "CONFIRMED":
            await self._afterwards(booking_id)

    async def _afterwards(self, booking_id: str) -> None:
        choice = self._chance.random()
        tickets = await self._client.items(f"/api/bookings/{booking_id}/tickets", "tickets")
        if choice < _CANCELLED:
            await self._cancel(booking_id, {})
        elif choice < _CANCELLED + _PARTLY_CANCELLED:
            await self._cancel(booking_id, {"ticketIds": [tickets[0]["ticketId"]]})
        elif choice < _CANCELLED + _PARTLY_CANCELLED + _CHECKED_IN:
            scan = {"code": tickets[0]["code"], "eventId": self._show, "scanId": f"{self._key}-scan"}
            response = await self._all.staff.request_until_final("POST", "/api/check-ins", scan)
            if response.status != HTTPStatus.CREATED:
                _refused("check-in", response)

    async def _cancel(self, booking_id: str, body: Mapping[str, Any]) -> None:
        path = f"/api/bookings/{booking_id}/cancel"
        response = await self._client.request_until_final("POST", path, body, key=f"{self._key}-cancel")
        if response.status not in {HTTPStatus.OK, HTTPStatus.ACCEPTED}:
            _refused("cancellation", response)

    async def _outcome(self, booking_id: str) -> str:
        """Wait until a booking has an outcome. Raises NoResponse if no buyer progresses."""
        polls = 0
        while (status := str((await self._client.get(f"/api/bookings/{booking_id}"))["status"])) == "PENDING":
            if self._all.watchdog.has_expired:
                raise NoResponse(f"{booking_id} is still PENDING, and no buyer was done for {_TIMEOUT:.0f} s")
            polls += 1
            await asyncio.sleep(_POLLS.delay(polls))
        self._all.watchdog.reset()
        return status

    async def _wait_for_offer(self, quantity: int) -> None:
        path = f"/api/events/{self._show}/waitlist"
        joined = await self._client.request_until_final("POST", path, {"quantity": quantity}, key=f"{self._key}-wait")
        if joined.status != HTTPStatus.CREATED:
            _refused("waitlist", joined)
            return
        waits = self._all.waits
        for poll in range(1, _OFFER_POLLS + 1):
            offers_before = len(waits.offered)
            response = await self._client.request_until_final("GET", f"{path}/me")
            if response.status == HTTPStatus.NOT_FOUND or response.json()["status"] not in {"WAITING", "OFFERED"}:
                return
            waits.record(response.json(), offers_before)
            if response.json()["status"] == "OFFERED":
                await self._book(response.json()["holdId"])
                return
            await asyncio.sleep(_POLLS.delay(poll))
        await self._client.request_until_final("DELETE", f"{path}/me")


def _refused(kind: str, response: Response) -> str:
    """Return the code of a refusal. Raises ExpectationFailed if this kind of request may not have it."""
    code = str(response.json().get("code")) if response.status < HTTPStatus.INTERNAL_SERVER_ERROR else ""
    if code not in EXPECTED[kind]:
        raise ExpectationFailed(
            f"{response.request}: expected one of {sorted(EXPECTED[kind])}, got {response.text(300)}"
        )
    return code
