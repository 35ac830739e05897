"""The orders service under test, and a simulation of the services that it calls."""

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
from portico.testing.channels import answer_batch
from portico.testing.databases import Databases
from portico.testing.running_service import Answer, Caller, RunningService, run_service

Failure = Literal["unavailable", "lost_before", "lost_after", "delayed"]

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


class ErrorResponse(Exception):
    def __init__(self, status: int, code: str, **more: Any) -> None:
        super().__init__(code)
        self.answer = Incoming(
            status,
            [(b"content-type", b"application/problem+json")],
            orjson.dumps({"type": "about:blank", "status": status, "code": code, "detail": code, **more}),
        )


@dataclass
class Shop:
    """Simulated identity, catalog and payments.

    Each attempt of a call takes the next of its `failures`. A call with an event in `gates` waits for it. A `delayed`
    call fails for its caller and is executed by `deliver_delayed_calls`.
    """

    products: dict[str, dict[str, Any]] = field(default_factory=dict)
    stock: dict[str, int] = field(default_factory=dict)
    reservations: dict[str, Reservation] = field(default_factory=dict)
    charges: dict[str, Charge] = field(default_factory=dict)
    voided: set[str] = field(default_factory=set)
    failures: dict[str, deque[Failure]] = field(default_factory=lambda: defaultdict(deque))
    gates: dict[str, asyncio.Event] = field(default_factory=dict)
    arrived: dict[str, asyncio.Event] = field(default_factory=lambda: defaultdict(asyncio.Event))
    calls: list[str] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    delayed_calls: list[Callable[[], Awaitable[Incoming]]] = field(default_factory=list)

    def add_product(
        self, price: float = 10.0, *, currency: str = "USD", stock: int = 100, name: str = "A lamp"
    ) -> ProductId:
        """Add a product and return its id."""
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

    def reservation_status(self, order_id: str) -> str | None:
        """Return the status of the order's reservation, or None if there is none."""
        found = self.reservations.get(reservation_id_of(OrderId(order_id)))
        return None if found is None else found.status

    def net_paid(self, order_id: str) -> float:
        """Return the amount charged for an order, less refunds."""
        return sum(
            charge.amount - charge.refunded
            for charge in self.charges.values()
            if charge.order_id == order_id and charge.status == "succeeded"
        )

    async def deliver_delayed_calls(self) -> None:
        """Execute the calls that were delayed."""
        for act in self.delayed_calls:
            with suppress(ErrorResponse):
                await act()

    async def send(self, out: Outgoing) -> Incoming:
        """Respond to a call, as a channel does."""
        if out.path == "/oauth/token":
            return _answer({"access_token": "orders", "expires_in": 600})
        if out.path.endswith("/batch"):
            self.batches.append(len(orjson.loads(out.body)))
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
            answer = await act()
        except ErrorResponse as error:
            answer = error.answer
        if failure == "lost_after":
            raise ConnectionLost(out.service, "simulated")
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
                raise ErrorResponse(409, "insufficient_stock", items=short)
            known = self.reservations[reservation_id] = Reservation(items)
        elif known.status == "released":
            raise ErrorResponse(409, "reservation_released")
        return self._reservation(reservation_id, known)

    async def _confirm(self, reservation_id: str, _body: Any) -> Incoming:
        return self._set_status(reservation_id, {"reserved", "confirmed"}, "confirmed", "reservation_released")

    async def _ship(self, reservation_id: str, _body: Any) -> Incoming:
        reservation = self._known(reservation_id)
        if reservation.status == "confirmed":
            for product_id, quantity in reservation.items.items():
                self.stock[product_id] -= quantity
        return self._set_status(reservation_id, {"confirmed", "shipped"}, "shipped", "reservation_not_confirmed")

    async def _return(self, reservation_id: str, _body: Any) -> Incoming:
        reservation = self._known(reservation_id)
        if reservation.status == "shipped":
            for product_id, quantity in reservation.items.items():
                self.stock[product_id] += quantity
        return self._set_status(reservation_id, {"shipped", "returned"}, "returned", "reservation_not_shipped")

    async def _release(self, reservation_id: str, _body: Any) -> Incoming:
        self.reservations.setdefault(reservation_id, Reservation({})).status = "released"
        return Incoming(204, [], b"")

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
            raise ErrorResponse(409, "charge_in_flight")
        self.voided.add(key)
        if charge is not None and charge.status == "succeeded":
            charge.refunded = charge.amount
        return _answer({"key": key, "status": "voided", "payment_id": None, "refunded": None, "currency": None})

    async def _payments(self, order_id: str) -> Incoming:
        return _answer([_payment(charge) for charge in self.charges.values() if charge.order_id == order_id])

    def _known(self, reservation_id: str) -> Reservation:
        known = self.reservations.get(reservation_id)
        if known is None:
            raise ErrorResponse(404, "reservation_not_found")
        return known

    def _set_status(self, reservation_id: str, allowed: set[str], to: str, error: str) -> Incoming:
        reservation = self._known(reservation_id)
        if reservation.status not in allowed:
            raise ErrorResponse(409, error)
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
    """The orders service under test, with the simulated services."""

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
        """Send a request for an order; of one lamp by default."""
        wanted = list(items) or [{"product_id": self.shop.add_product(), "quantity": 1}]
        body = {
            "items": wanted,
            "shipping_address": ADDRESS,
            "billing_address": ADDRESS,
            "payment_method": "pm_ok",
            **more,
        }
        return await (by or self.run.as_user()).post("/orders", json=body)

    async def place(self, *items: Mapping[str, Any], by: Caller | None = None, **more: Any) -> dict[str, Any]:
        """Place an order and return it."""
        answer = await self.try_to_place(*items, by=by, **more)
        assert answer.status_code == 201, answer.content
        order: dict[str, Any] = answer.json()
        return order

    async def place_and_confirm(self, **more: Any) -> dict[str, Any]:
        """Place an order, run its saga and return the confirmed order."""
        order = await self.place(**more)
        await self.runner.run_due()
        order = await self.read(order["order_id"])
        assert order["status"] == "confirmed", order
        return order

    async def read(self, order_id: str) -> dict[str, Any]:
        answer = await self.staff.get(f"/orders/{order_id}")
        assert answer.status_code == 200, answer.content
        order: dict[str, Any] = answer.json()
        return order

    async def request(self, action: str, order_id: str) -> Answer:
        """Send a request about an order as staff."""
        return await self.staff.post(f"/orders/{order_id}/{action}")

    async def skip_step(self, order_id: str, reason: str) -> Answer:
        """Skip the step that the order's saga is waiting for, as staff."""
        return await self.staff.post(f"/orders/{order_id}/saga/skip", json={"reason": reason})

    async def advance(self, seconds: float, *, times: int = 1) -> None:
        """Advance the clock and run due sagas, repeatedly."""
        for _ in range(times):
            self.run.clock.advance(seconds)
            await self.runner.run_due()

    async def published_for(self, order_id: str) -> list[tuple[str, str]]:
        """Return the types and statuses of the published events of an order."""
        events: list[Any] = await self.run.published()
        return [(event.event_type, event.status) for event in events if event.order_id == order_id]


@asynccontextmanager
async def open_orders(
    databases: Databases,
    *,
    background: bool = False,
    variables: Mapping[str, str] | None = None,
    retries: bool = False,
) -> AsyncIterator[Orders]:
    """Run orders without any order. With `retries`, failed calls are retried as in production."""
    shop = Shop()
    channel: Channel = RetryingChannel(shop, draw=lambda: 0.0) if retries else shop
    async with run_service(service, databases, channel=channel, background=background, variables=variables) as run:
        yield Orders(run, shop)


def new_user_id() -> str:
    return UserId.new()
