"""Customers and staff of a drilled shop: what they ask for is drawn from the seed, and asked until there is an answer."""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from portico.kit.calls.channel import Channel, Outgoing
from portico.kit.calls.errors import CallFailed

METHODS: Mapping[str, float] = {
    "pm_ok": 60,
    "pm_declined": 8,
    "pm_insufficient_funds": 4,
    "pm_slow": 6,
    "pm_timeout_then_charged": 8,
    "pm_error_then_ok": 8,
    "pm_duplicate_webhook": 6,
}
"""How customers pay, and how often."""

ADDRESS = {"street": "1 Quay Street", "city": "Porto", "state": "PT-13", "zip": "4050-001", "country": "PT"}
PASSWORD = "correct horse battery staple"  # noqa: S105  # of made-up customers of a shop that is thrown away

_PATIENCE = 120.0  # seconds that an answer is asked for
_COME_AGAIN = {409, 425, 429}
_FAILED = 500


class NoAnswer(RuntimeError):
    """The shop gave no final answer in all the time that a customer has."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A final answer."""

    status: int
    body: Any


@dataclass
class Visitor:
    """Somebody who calls the shop through its gateway, again and again until there is a final answer.

    Args:
        channel: the way to the gateway.
        token: who it is.
    """

    channel: Channel
    token: str | None = None

    async def ask(self, method: str, path: str, body: Any = None, *, key: str | None = None) -> Reply:
        """Ask until the answer is final. `key` makes a POST happen once. Raises NoAnswer."""
        headers = [(b"content-type", b"application/json")] if body is not None else []
        if self.token is not None:
            headers.append((b"authorization", f"Bearer {self.token}".encode()))
        if key is not None:
            headers.append((b"idempotency-key", key.encode()))
        said = "nothing"
        try:
            async with asyncio.timeout(_PATIENCE):
                while True:
                    out = Outgoing("gateway", method, path, headers=headers, timeout=30.0)
                    out.path, _, query = path.partition("?")
                    out.query = query.encode()
                    out.body = b"" if body is None else orjson.dumps(body)
                    try:
                        answer = await self.channel.send(out)
                    except CallFailed as failed:
                        said = str(failed)
                    else:
                        come_again = answer.status in _COME_AGAIN and answer.header(b"retry-after") is not None
                        if answer.status < _FAILED and not come_again:
                            return Reply(answer.status, orjson.loads(answer.body) if answer.body else None)
                        said = f"{answer.status} {answer.body[:200].decode(errors='replace')}"
                    await asyncio.sleep(random.uniform(0.01, 0.1))  # noqa: S311  # so that customers do not come all at once
        except TimeoutError:
            raise NoAnswer(f"{method} {path} was asked for {_PATIENCE:.0f} s; last came {said}") from None


@dataclass
class Customers:
    """The customers of one drill.

    Args:
        channel: the way to the gateway.
        seed: of what they want.
        staff: somebody who may do everything.
        at_once: how many orders are placed side by side.
        placed: called each time that a customer was told of an order, with how many were by then.
    """

    channel: Channel
    seed: int
    staff: Visitor
    at_once: int = 32
    placed: Callable[[int], None] = lambda _: None
    customers: list[Visitor] = field(default_factory=list)
    products: list[str] = field(default_factory=list)
    acknowledged: dict[str, str] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)

    async def arrive(self, customers: int, products: int, orders: int) -> None:
        """Register customers, and put products on the shelf: most of them plenty, some too few for all who want one."""
        for number in range(customers):
            self.customers.append(await self._registered(f"customer-{self.seed}-{number}@example.com"))
        for number in range(products):
            stock = max(orders // 20, 1) if number % 5 == 4 else orders * 10  # noqa: PLR2004  # every fifth is scarce
            draft = {
                "name": f"Product {number}",
                "price": 5 + number,
                "category": "drill",
                "sku": f"DRILL-{self.seed}-{number}",
                "stock_quantity": stock,
            }
            reply = await self.staff.ask("POST", "/products", draft, key=f"product-{self.seed}-{number}")
            self.products.append(reply.body["product_id"])

    async def shop(self, orders: int) -> None:
        """Place orders, and see to some of them afterwards; many side by side."""
        waiting = iter(range(orders))

        async def one_after_another() -> None:
            for number in waiting:
                try:
                    await self._order(number)
                except NoAnswer as error:
                    self.refused.append(f"order {number}: {error}")

        async with asyncio.TaskGroup() as group:
            for _ in range(min(self.at_once, orders)):
                group.create_task(one_after_another())

    async def _registered(self, email: str) -> Visitor:
        visitor = Visitor(self.channel)
        await visitor.ask("POST", "/register", {"email": email, "password": PASSWORD, "name": "A Customer"})
        reply = await visitor.ask("POST", "/login", {"email": email, "password": PASSWORD})
        return Visitor(self.channel, reply.body["access_token"])

    async def _order(self, number: int) -> None:
        chance = random.Random(f"{self.seed}/order/{number}")  # noqa: S311  # to be repeated
        customer = self.customers[number % len(self.customers)]
        chosen = chance.sample(self.products, chance.randint(1, min(3, len(self.products))))
        [method] = chance.choices(list(METHODS), list(METHODS.values()))
        draft = {
            "items": [{"product_id": each, "quantity": chance.randint(1, 3)} for each in chosen],
            "shipping_address": ADDRESS,
            "billing_address": ADDRESS,
            "payment_method": method,
        }
        key = f"drill-{self.seed}-{number}"
        reply = await customer.ask("POST", "/orders", draft, key=key)
        if reply.status != 201:  # noqa: PLR2004  # Created
            self.refused.append(f"order {number}: {reply.status} {reply.body}")
            return
        order_id = self.acknowledged[key] = reply.body["order_id"]
        self.placed(len(self.acknowledged))
        fate = chance.random()
        if fate < 0.15:  # noqa: PLR2004  # of all customers
            await customer.ask("POST", f"/orders/{order_id}/cancel", {}, key=f"{key}-cancel")
        elif fate < 0.35:  # noqa: PLR2004  # likewise
            steps: Sequence[str] = ("ship", "deliver", "return")[: chance.randint(1, 3)]
            await self._see_to(order_id, key, steps)

    async def _see_to(self, order_id: str, key: str, steps: Sequence[str]) -> None:
        """Ship, deliver and take back an order as soon as it stands; one that does not is left alone. Raises NoAnswer."""
        status = "not to be seen"
        try:
            async with asyncio.timeout(_PATIENCE):
                while (status := (await self.staff.ask("GET", f"/orders/{order_id}")).body["status"]) != "confirmed":
                    if status in {"failed", "cancelled"}:
                        return
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise NoAnswer(f"{order_id} was still {status} after {_PATIENCE:.0f} s") from None
        for step in steps:
            await self.staff.ask("POST", f"/orders/{order_id}/{step}", key=f"{key}-{step}")
