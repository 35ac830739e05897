"""The services around orders, in the hands of a test: they keep their promises, and fail where they are told to."""

import asyncio
import re
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qs, unquote

import orjson

from portico.contracts.catalog import ProductId
from portico.contracts.orders import OrderId
from portico.contracts.payments import PaymentId
from portico.kit.auth.principal import UserId
from portico.kit.calls.channel import Channel, ConnectionLost, Incoming, Outgoing
from portico.kit.calls.retries import RetryingChannel
from portico.kit.sagas.runner import SagaRunner
from portico.services.orders import service
from portico.services.orders.models import reservation_id_of
from portico.testing.databases import Databases
from portico.testing.running_service import Answer, Caller, RunningService, running

Trouble = Literal["unavailable", "lost_before", "lost_after", "late"]

ADDRESS = {"street": "1 Main St", "city": "Springfield", "state": "IL", "zip": "62701", "country": "US"}
MADE_AT = "2026-01-05T09:00:00Z"


@dataclass
class Reservation:
    items: dict[str, int]
    status: str = "reserved"


@dataclass
class Charge:
    payment_id: PaymentId
    order_id: str
    user_id: str
    amount: float
    currency: str
    method: str
    status: str
    failure_reason: str | None = None
    refunded: float = 0.0


class Refusal(Exception):
    def __init__(self, status: int, code: str, **more: Any) -> None:
        super().__init__(code)
        self.answer = Incoming(
            status,
            [(b"content-type", b"application/problem+json")],
            orjson.dumps({"type": "about:blank", "status": status, "code": code, "detail": code, **more}),
        )


@dataclass
class Shop:
    """Identity, catalog and payments as orders sees them.

    `troubles` of a call are met by its next tries, one each; a call whose `gates` event is there waits for it. One that
    is `late` is lost to who makes it, and is carried out when `arrive` is called.
    """

    products: dict[str, dict[str, Any]] = field(default_factory=dict)
    stock: dict[str, int] = field(default_factory=dict)
    reservations: dict[str, Reservation] = field(default_factory=dict)
    charges: dict[str, Charge] = field(default_factory=dict)
    voided: set[str] = field(default_factory=set)
    troubles: dict[str, deque[Trouble]] = field(default_factory=lambda: defaultdict(deque))
    gates: dict[str, asyncio.Event] = field(default_factory=dict)
    arrived: dict[str, asyncio.Event] = field(default_factory=lambda: defaultdict(asyncio.Event))
    asked: list[str] = field(default_factory=list)
    on_their_way: list[Callable[[], Awaitable[Incoming]]] = field(default_factory=list)

    def sells(self, price: float = 10.0, *, currency: str = "USD", stock: int = 100, name: str = "A lamp") -> ProductId:
        """One more product."""
        product_id = ProductId.new()
        self.products[product_id] = {
            "product_id": product_id,
            "sku": product_id,
            "name": name,
            "price": price,
            "currency": currency,
            "category": "lamps",
            "stock_quantity": stock,
        }
        self.stock[product_id] = stock
        return product_id

    def available(self, product_id: str) -> int:
        held = sum(
            each.items.get(product_id, 0)
            for each in self.reservations.values()
            if each.status in {"reserved", "confirmed"}
        )
        return self.stock[product_id] - held

    def reserved_for(self, order_id: str) -> str | None:
        """How the order's reservation stands; None where there is none."""
        found = self.reservations.get(reservation_id_of(OrderId(order_id)))
        return None if found is None else found.status

    def kept_of(self, order_id: str) -> float:
        """The money that is kept of an order."""
        return sum(
            charge.amount - charge.refunded
            for charge in self.charges.values()
            if charge.order_id == order_id and charge.status == "succeeded"
        )

    async def arrive(self) -> None:
        """The calls that were held up on their way arrive."""
        for act in self.on_their_way:
            with suppress(Refusal):
                await act()

    async def send(self, out: Outgoing) -> Incoming:
        """Answer a call, as a channel."""
        if out.path == "/oauth/token":
            return _answer({"access_token": "orders", "expires_in": 600})
        name, act = self._called(out)
        self.asked.append(name)
        self.arrived[name].set()
        if (gate := self.gates.get(name)) is not None:
            await gate.wait()
        trouble = self.troubles[name].popleft() if self.troubles[name] else None
        if trouble == "unavailable":
            return Incoming(503, [(b"content-type", b"application/problem+json")], b'{"code": "unavailable"}')
        if trouble == "late":
            self.on_their_way.append(act)
        if trouble in {"lost_before", "late"}:
            raise ConnectionLost(out.service, "told to")
        try:
            answer = await act()
        except Refusal as refusal:
            answer = refusal.answer
        if trouble == "lost_after":
            raise ConnectionLost(out.service, "told to")
        return answer

    def _called(self, out: Outgoing) -> tuple[str, Callable[[], Awaitable[Incoming]]]:
        body = orjson.loads(out.body) if out.body else {}
        query = parse_qs(out.query.decode())
        if found := re.fullmatch(r"/inventory/reservations/(\w+)(?:/(\w+))?", out.path):
            name = found[2] or {"PUT": "reserve", "DELETE": "release"}[out.method]
            return name, lambda: getattr(self, f"_{name}")(found[1], body)
        if found := re.fullmatch(r"/payments/voids/(.+)", out.path):
            return "void", lambda: self._void(unquote(found[1]))
        calls: dict[tuple[str, str], tuple[str, Callable[[], Awaitable[Incoming]]]] = {
            ("GET", "/products"): ("products", lambda: self._products(query["product_id"])),
            ("POST", "/payments"): ("charge", lambda: self._charge(body)),
            ("GET", "/payments"): ("payments", lambda: self._payments(query["order_id"][0])),
        }
        return calls[out.method, out.path]

    async def _products(self, wanted: list[str]) -> Incoming:
        return _answer([self.products[each] for each in wanted if each in self.products])

    async def _reserve(self, reservation_id: str, body: dict[str, Any]) -> Incoming:
        known = self.reservations.get(reservation_id)
        if known is None:
            items = {item["product_id"]: item["quantity"] for item in body["items"]}
            short = [
                {"product_id": each, "requested": many, "available": self.available(each)}
                for each, many in items.items()
                if many > self.available(each)
            ]
            if short:
                raise Refusal(409, "insufficient_stock", items=short)
            known = self.reservations[reservation_id] = Reservation(items)
        elif known.status == "released":
            raise Refusal(409, "reservation_released")
        return self._reservation(reservation_id, known)

    async def _confirm(self, reservation_id: str, _body: Any) -> Incoming:
        return self._moved(reservation_id, {"reserved", "confirmed"}, "confirmed", "reservation_released")

    async def _ship(self, reservation_id: str, _body: Any) -> Incoming:
        reservation = self._known(reservation_id)
        if reservation.status == "confirmed":
            for product_id, quantity in reservation.items.items():
                self.stock[product_id] -= quantity
        return self._moved(reservation_id, {"confirmed", "shipped"}, "shipped", "reservation_not_confirmed")

    async def _return(self, reservation_id: str, _body: Any) -> Incoming:
        reservation = self._known(reservation_id)
        if reservation.status == "shipped":
            for product_id, quantity in reservation.items.items():
                self.stock[product_id] += quantity
        return self._moved(reservation_id, {"shipped", "returned"}, "returned", "reservation_not_shipped")

    async def _release(self, reservation_id: str, _body: Any) -> Incoming:
        self.reservations.setdefault(reservation_id, Reservation({})).status = "released"
        return Incoming(204, [], b"")

    async def _charge(self, body: dict[str, Any]) -> Incoming:
        key, method = body["key"], body["method"]
        if key in self.voided:
            raise Refusal(409, "voided")
        charge = self.charges.get(key)
        if charge is None:
            first = {"pm_ok": "succeeded", "pm_slow": "processing"}.get(method, "failed")
            reason = None if first != "failed" else "card_declined"
            charge = self.charges[key] = Charge(
                PaymentId.new(),
                body["order_id"],
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
            raise Refusal(409, "charge_in_flight")
        self.voided.add(key)
        if charge is not None and charge.status == "succeeded":
            charge.refunded = charge.amount
        return _answer({"key": key, "status": "voided", "payment_id": None, "refunded": None, "currency": None})

    async def _payments(self, order_id: str) -> Incoming:
        return _answer([_payment(charge) for charge in self.charges.values() if charge.order_id == order_id])

    def _known(self, reservation_id: str) -> Reservation:
        known = self.reservations.get(reservation_id)
        if known is None:
            raise Refusal(404, "reservation_not_found")
        return known

    def _moved(self, reservation_id: str, since: set[str], to: str, refusal: str) -> Incoming:
        reservation = self._known(reservation_id)
        if reservation.status not in since:
            raise Refusal(409, refusal)
        reservation.status = to
        return self._reservation(reservation_id, reservation)

    def _reservation(self, reservation_id: str, reservation: Reservation) -> Incoming:
        items = [{"product_id": each, "quantity": many} for each, many in reservation.items.items()]
        return _answer(
            {"reservation_id": reservation_id, "status": reservation.status, "items": items, "expires_at": None}
        )


def _payment(charge: Charge) -> dict[str, Any]:
    return {**vars(charge), "created_at": MADE_AT}


def _answer(document: Any) -> Incoming:
    return Incoming(200, [(b"content-type", b"application/json")], orjson.dumps(document))


@dataclass
class Orders:
    """Orders under test, with its shop."""

    run: RunningService
    shop: Shop

    def __post_init__(self) -> None:
        self.runner = SagaRunner(
            self.run.context,
            self.run.context.service.sagas,
            database=self.run.context.database,
            tracing=self.run.context.tracing,
            health=self.run.context.health,
            draw=lambda: 1.0,
        )

    def as_user(self, *permissions: str, subject: str | None = None) -> Caller:
        return self.run.as_user(*permissions, subject=subject)

    @property
    def staff(self) -> Caller:
        return self.run.as_user("orders:read", "orders:write")

    async def try_to_place(self, *items: Mapping[str, Any], by: Caller | None = None, **more: Any) -> Answer:
        """Place an order; of one lamp where nothing is said."""
        wanted = list(items) or [{"product_id": self.shop.sells(), "quantity": 1}]
        body = {
            "items": wanted,
            "shipping_address": ADDRESS,
            "billing_address": ADDRESS,
            "payment_method": "pm_ok",
            **more,
        }
        return await (by or self.run.as_user()).post("/orders", json=body)

    async def placed(self, *items: Mapping[str, Any], by: Caller | None = None, **more: Any) -> dict[str, Any]:
        """An order that was just placed."""
        answer = await self.try_to_place(*items, by=by, **more)
        assert answer.status_code == 201, answer.content
        order: dict[str, Any] = answer.json()
        return order

    async def confirmed(self, **more: Any) -> dict[str, Any]:
        """An order that stands."""
        order = await self.placed(**more)
        await self.runner.run_due()
        order = await self.read(order["order_id"])
        assert order["status"] == "confirmed", order
        return order

    async def read(self, order_id: str) -> dict[str, Any]:
        answer = await self.staff.get(f"/orders/{order_id}")
        assert answer.status_code == 200, answer.content
        order: dict[str, Any] = answer.json()
        return order

    async def does(self, action: str, order_id: str) -> Answer:
        """Have staff do something with an order."""
        return await self.staff.post(f"/orders/{order_id}/{action}")

    async def skips(self, order_id: str, reason: str) -> Answer:
        """Have staff say that somebody did by hand what the order's saga waits for."""
        return await self.staff.post(f"/orders/{order_id}/saga/skip", json={"reason": reason})

    async def after(self, seconds: float, *, times: int = 1) -> None:
        """Let time pass and run what is due then, so many times."""
        for _ in range(times):
            self.run.clock.advance(seconds)
            await self.runner.run_due()

    async def events_of(self, order_id: str) -> list[tuple[str, str]]:
        """The types and states of what was told of an order."""
        told: list[Any] = await self.run.published()
        return [(event.event_type, event.status) for event in told if event.order_id == order_id]


@asynccontextmanager
async def open_orders(
    databases: Databases,
    *,
    background: bool = False,
    variables: Mapping[str, str] | None = None,
    retries: bool = False,
) -> AsyncIterator[Orders]:
    """Orders with none placed yet; with `retries` a call is made several times, as it is outside of tests."""
    shop = Shop()
    channel: Channel = RetryingChannel(shop, draw=lambda: 0.0) if retries else shop
    async with running(service, databases, channel=channel, background=background, variables=variables) as run:
        yield Orders(run, shop)


def somebody() -> str:
    return UserId.new()
