"""A simulation of the services that bookings calls: seating with the places of one show, and payments."""

import asyncio
import re
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import unquote

import orjson

from portico.contracts.events import ShowId
from portico.contracts.payments import PaymentId
from portico.contracts.seating import HoldId
from portico.kit.calls.channel import ConnectionLost, Incoming, Outgoing
from portico.testing.channels import answer_batch

Failure = Literal["unavailable", "lost_before", "lost_after", "delayed"]
Act = Callable[[], Awaitable[Incoming]]

MADE_AT = "2026-01-05T09:00:00Z"
ENDS_AT = "2026-01-05T09:10:00Z"
FLOOR = "Floor"
"""The standing section."""


@dataclass
class VenueHold:
    hold_id: str
    user_id: str
    places: list[dict[str, Any]]
    status: str = "ACTIVE"
    booking_id: str | None = None
    was_kept: bool | None = None
    discount: float = 0.0
    returned: list[dict[str, Any]] = field(default_factory=list)
    return_keys: set[str] = field(default_factory=set)


@dataclass
class Charge:
    payment_id: PaymentId
    booking_id: str
    user_id: str
    amount: float
    currency: str
    method: str
    status: str
    failure_reason: str | None = None
    refunded: float = 0.0


class ErrorResponse(Exception):
    def __init__(self, status: int, code: str, **more: Any) -> None:
        super().__init__(code)
        self.answer = Incoming(
            status,
            [(b"content-type", b"application/problem+json")],
            orjson.dumps({"type": "about:blank", "status": status, "code": code, "detail": code, **more}),
        )


@dataclass
class Venue:
    """Seating and payments. The show has seats `1-A-1` to `1-A-…` at `price` and a standing section.

    Each attempt of a call takes the next of its `failures`. A call with an event in `gates` waits for it. A `delayed`
    call fails for its caller and is executed by `deliver_delayed_calls`. A call in `refusals` is refused.
    """

    show_id: ShowId = field(default_factory=ShowId.new)
    price: float = 49.5
    discount: float = 0.0
    free: int = 10
    holds: dict[str, VenueHold] = field(default_factory=dict)
    charges: dict[str, Charge] = field(default_factory=dict)
    voided: set[str] = field(default_factory=set)
    refund_keys: dict[str, float] = field(default_factory=dict)
    refusals: dict[str, ErrorResponse] = field(default_factory=dict)
    failures: dict[str, deque[Failure]] = field(default_factory=lambda: defaultdict(deque))
    gates: dict[str, asyncio.Event] = field(default_factory=dict)
    arrived: dict[str, asyncio.Event] = field(default_factory=lambda: defaultdict(asyncio.Event))
    calls: list[str] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    delayed_calls: list[Act] = field(default_factory=list)

    def add_hold(self, user_id: str, quantity: int = 1, *, standing: bool = False) -> str:
        """Take a hold for a user and return its id."""
        hold_id = HoldId.new()
        self.holds[hold_id] = VenueHold(hold_id, user_id, self._choose(quantity, standing=standing))
        return hold_id

    @property
    def sold(self) -> int:
        """The number of places that are sold."""
        return sum(len(each.places) - len(each.returned) for each in self.holds.values() if each.status == "SOLD")

    @property
    def held(self) -> int:
        """The number of places that are held."""
        return sum(len(each.places) for each in self.holds.values() if each.status in {"ACTIVE", "CLAIMED"})

    def net_paid(self) -> float:
        """Return what was charged less refunds."""
        return sum(each.amount - each.refunded for each in self.charges.values() if each.status == "succeeded")

    async def deliver_delayed_calls(self) -> None:
        """Execute the calls that were delayed."""
        for act in self.delayed_calls:
            with suppress(ErrorResponse):
                await act()

    async def send(self, out: Outgoing) -> Incoming:
        """Respond to a call, as a channel does."""
        if out.path == "/oauth/token":
            return _answer({"access_token": "bookings", "expires_in": 600})
        if out.path.endswith("/batch"):
            return await answer_batch(out, self.send)
        name, act = self._called(out)
        self.calls.append(name)
        self.arrived[name].set()
        if (gate := self.gates.get(name)) is not None:
            await gate.wait()
        failure = self.failures[name].popleft() if self.failures[name] else None
        if failure == "unavailable":
            return Incoming(503, [(b"content-type", b"application/problem+json")], b'{"code": "unavailable"}')
        if failure == "delayed":
            self.delayed_calls.append(act)
        if failure in {"lost_before", "delayed"}:
            raise ConnectionLost(out.service, "simulated")
        try:
            if (refusal := self.refusals.get(name)) is not None:
                raise refusal
            answer = await act()
        except ErrorResponse as error:
            answer = error.answer
        if failure == "lost_after":
            raise ConnectionLost(out.service, "simulated")
        return answer

    def _called(self, out: Outgoing) -> tuple[str, Act]:
        body = orjson.loads(out.body) if out.body else {}
        self.bodies.append(body)
        if found := re.fullmatch(r"/inventory/(\d+)/users/(\w+)/holds/(\w+)", out.path):
            name = {"GET": "hold", "DELETE": "release"}[out.method]
            return name, lambda: getattr(self, f"_{name}")(found[3], found[2])
        if found := re.fullmatch(r"/inventory/(\d+)/holds/(\w+)(?:/(\w+))?", out.path):
            name = {None: "take", "claim": "claim", "release": "give_back", "sale": "sell", "return": "return"}[
                found[3]
            ]
            return name, lambda: getattr(self, f"_{name}")(found[2], body)
        if found := re.fullmatch(r"/payments/voids/(.+)", out.path):
            return "void", lambda: self._void(unquote(found[1]))
        if found := re.fullmatch(r"/payments/(\w+)/refunds", out.path):
            return "refund", lambda: self._refund(found[1], body)
        if out.method == "POST":
            return "charge", lambda: self._charge(body)
        return "payments", lambda: self._payments(out.path.rpartition("/")[2])

    async def _take(self, hold_id: str, body: dict[str, Any]) -> Incoming:
        if hold_id not in self.holds:
            places = [self._seat(each) for each in body["seats"]] if "seats" in body else None
            chosen = places or self._choose(body["quantity"], standing=body.get("section") == FLOOR)
            self.holds[hold_id] = VenueHold(hold_id, body["user_id"], chosen, discount=self.discount)
        return self._of(self.holds[hold_id])

    async def _hold(self, hold_id: str, user_id: str) -> Incoming:
        return self._of(self._owned(hold_id, user_id))

    async def _release(self, hold_id: str, user_id: str) -> Incoming:
        hold = self._owned(hold_id, user_id)
        if hold.status == "CLAIMED":
            raise ErrorResponse(409, "hold_in_use", hold_id=hold_id)
        if hold.status == "ACTIVE":
            self._free(hold)
        return Incoming(204, [], b"")

    async def _claim(self, hold_id: str, body: dict[str, Any]) -> Incoming:
        hold = self._owned(hold_id, body["user_id"])
        if hold.status in {"RELEASED", "EXPIRED"}:
            raise ErrorResponse(409, "hold_expired", hold_id=hold_id)
        if hold.status == "SOLD" or hold.booking_id not in {None, body["booking_id"]}:
            raise ErrorResponse(409, "hold_in_use", hold_id=hold_id)
        hold.status, hold.booking_id = "CLAIMED", body["booking_id"]
        return self._of(hold)

    async def _give_back(self, hold_id: str, body: dict[str, Any]) -> Incoming:
        hold = self.holds[hold_id]
        if hold.status == "SOLD":
            raise ErrorResponse(409, "hold_used", hold_id=hold_id, booking_id=hold.booking_id)
        if hold.status == "CLAIMED" and hold.booking_id == body["booking_id"]:
            hold.booking_id, hold.was_kept = None, body["keep"]
            if body["keep"]:
                hold.status = "ACTIVE"
            else:
                self._free(hold)
        return self._of(hold)

    async def _sell(self, hold_id: str, body: dict[str, Any]) -> Incoming:
        hold = self.holds[hold_id]
        if hold.status not in {"CLAIMED", "SOLD"} or hold.booking_id != body["booking_id"]:
            raise ErrorResponse(409, "hold_lost", hold_id=hold_id, booking_id=body["booking_id"])
        hold.status = "SOLD"
        return self._of(hold)

    async def _return(self, hold_id: str, body: dict[str, Any]) -> Incoming:
        hold = self.holds[hold_id]
        if body["key"] not in hold.return_keys:
            hold.return_keys.add(body["key"])
            if hold.status == "SOLD" and hold.booking_id == body["booking_id"]:
                names = [_name(each) for each in hold.places]
                for place in body["places"]:
                    if hold.returned.count(place) < names.count(place):
                        hold.returned.append(place)
                        self.free += 1
        return self._of(hold)

    async def _charge(self, body: dict[str, Any]) -> Incoming:
        key, method = body["key"], body["method"]
        if key in self.voided:
            raise ErrorResponse(409, "voided")
        charge = self.charges.get(key)
        if charge is None:
            first = {"pm_ok": "succeeded", "pm_slow": "processing"}.get(method, "failed")
            reason = None if first != "failed" else "card_declined"
            charge = self.charges[key] = Charge(
                PaymentId.new(),
                body["booking_id"],
                body["user_id"],
                body["amount"],
                body["currency"],
                method,
                first,
                reason,
            )
        elif charge.status == "processing":
            charge.status = "succeeded"
        return _answer(_payment(charge))

    async def _void(self, key: str) -> Incoming:
        charge = self.charges.get(key)
        if charge is not None and charge.status == "processing":
            charge.status = "succeeded"
            raise ErrorResponse(409, "charge_in_flight")
        self.voided.add(key)
        if charge is not None and charge.status == "succeeded":
            charge.refunded = charge.amount
        return _answer({"key": key, "status": "voided", "payment_id": None, "refunded": None, "currency": None})

    async def _refund(self, payment_id: str, body: dict[str, Any]) -> Incoming:
        (charge,) = [each for each in self.charges.values() if each.payment_id == payment_id]
        left = round(charge.amount - charge.refunded, 2)
        known = self.refund_keys.get(body["key"])
        if known not in {None, body["amount"]}:
            raise ErrorResponse(422, "refund_key_reused")
        if known is None:
            if body["amount"] > left:
                raise ErrorResponse(409, "refund_exceeds_charge", left=left, currency=charge.currency)
            self.refund_keys[body["key"]] = body["amount"]
            charge.refunded = round(charge.refunded + body["amount"], 2)
        return _answer(
            {
                "refund_id": f"rfnd_{payment_id.partition('_')[2]}",
                "payment_id": payment_id,
                "status": "succeeded",
                "amount": body["amount"],
                "currency": charge.currency,
                "failure_reason": None,
            }
        )

    async def _payments(self, booking_id: str) -> Incoming:
        return _answer([_payment(charge) for charge in self.charges.values() if charge.booking_id == booking_id])

    def _owned(self, hold_id: str, user_id: str) -> VenueHold:
        hold = self.holds.get(hold_id)
        if hold is None or hold.user_id != user_id:
            raise ErrorResponse(404, "hold_not_found", hold_id=hold_id)
        return hold

    def _choose(self, quantity: int, *, standing: bool) -> list[dict[str, Any]]:
        if quantity > self.free:
            raise ErrorResponse(409, "not_enough_seats", requested=quantity, available=self.free)
        self.free -= quantity
        if standing:
            place = {
                "seat_id": None,
                "section": FLOOR,
                "row": None,
                "number": None,
                "price": self.price - self.discount,
            }
            return [place] * quantity
        first = sum(len(each.places) for each in self.holds.values())
        return [self._seat(f"1-A-{first + number + 1}") for number in range(quantity)]

    def _seat(self, seat_id: str) -> dict[str, Any]:
        _, row, number = seat_id.split("-")
        price = self.price - self.discount
        return {"seat_id": seat_id, "section": "Stalls", "row": row, "number": int(number), "price": price}

    def _free(self, hold: VenueHold) -> None:
        hold.status = "RELEASED"
        self.free += len(hold.places)

    def _of(self, hold: VenueHold) -> Incoming:
        return _answer(
            {
                "hold_id": hold.hold_id,
                "event_id": self.show_id,
                "user_id": hold.user_id,
                "status": hold.status,
                "quantity": len(hold.places),
                "places": hold.places,
                "amount": round(sum(each["price"] for each in hold.places), 2),
                "discount": round(hold.discount * len(hold.places), 2),
                "currency": "USD",
                "expires_at": ENDS_AT,
                "booking_id": hold.booking_id,
            }
        )


def _name(place: dict[str, Any]) -> dict[str, Any]:
    """Return a place as a request to return it names it."""
    return {"seat_id": place["seat_id"]} if place["seat_id"] else {"section": place["section"]}


def _payment(charge: Charge) -> dict[str, Any]:
    return {**vars(charge), "created_at": MADE_AT}


def _answer(document: Any) -> Incoming:
    return Incoming(200, [(b"content-type", b"application/json")], orjson.dumps(document))
