"""Customers and staff of a system under drill. The seed determines what they do; they repeat requests until a final response."""

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from portico.gateway_client import ChannelTransport, ExpectationFailed, GatewayClient, NoResponse, RetryPolicy
from portico.kit.calls.channel import Channel
from portico.kit.foundation.backoff import Backoff
from portico.shop_client import ShopClient, order_draft, order_item

C = TypeVar("C", bound=GatewayClient)

METHOD_WEIGHTS: Mapping[str, float] = {
    "pm_ok": 60,
    "pm_declined": 8,
    "pm_insufficient_funds": 4,
    "pm_slow": 6,
    "pm_timeout_then_charged": 8,
    "pm_error_then_ok": 8,
    "pm_duplicate_webhook": 6,
}
"""How often customers use each payment method."""

PASSWORD = "correct horse battery staple"  # noqa: S105  # of accounts that exist for one drill only

_TIMEOUT = 120.0  # seconds without a final response, or without any progress
_POLLS = Backoff(base=0.05, limit=1.0)
"""Delays between polls of an order. Frequent polls would slow down the work that they wait for."""
_SETTLED = {"confirmed", "failed", "cancelled"}
_CANCELLED = 0.15  # share of orders that the customer cancels at once
_FULFILLED = 0.2  # share of orders that the staff ships, and perhaps delivers and takes back


def client_of(kind: type[C], channel: Channel) -> C:
    """Return an anonymous client of the gateway at the other end of `channel`."""
    policy = RetryPolicy(_TIMEOUT, min_delay=0.01, max_delay=0.1, obeys_retry_after=False)
    return kind(ChannelTransport(channel), retry=policy)


class Watchdog:
    """Expires when nothing has progressed for some time, however long the whole work takes.

    Args:
        within: seconds.
        now: the time, in seconds.
    """

    def __init__(self, within: float, now: Callable[[], float] = time.monotonic) -> None:
        self.within = within
        self._now = now
        self.reset()

    def reset(self) -> None:
        """Record progress."""
        self._last = self._now()

    @property
    def has_expired(self) -> bool:
        return self._now() - self._last > self.within


@dataclass
class Customers:
    """The customers of one drill.

    Args:
        channel: the way to the gateway.
        seed: determines what they do.
        staff: a client with all permissions.
        concurrency: the number of orders placed at the same time.
        on_order: called with the number of acknowledged orders after each.
        watchdog: limits how long an order may stay unconfirmed while no order progresses.

    Attributes:
        acknowledged: the ids of acknowledged orders, by idempotency key.
        errors: requests that were not answered as documented.
    """

    channel: Channel
    seed: int
    staff: ShopClient
    concurrency: int = 32
    on_order: Callable[[int], None] = lambda _: None
    watchdog: Watchdog = field(default_factory=lambda: Watchdog(_TIMEOUT))
    customers: list[ShopClient] = field(default_factory=list)
    products: list[str] = field(default_factory=list)
    acknowledged: dict[str, str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    async def set_up(self, customers: int, products: int, orders: int) -> None:
        """Register customers and create products. Every fifth product has too little stock for all orders."""
        anonymous = client_of(ShopClient, self.channel)
        for number in range(customers):
            email = f"customer-{self.seed}-{number}@example.com"
            self.customers.append(await anonymous.register(email, PASSWORD))
        for number in range(products):
            stock = max(orders // 20, 1) if number % 5 == 4 else orders * 10  # noqa: PLR2004  # every fifth
            product = {
                "name": f"Product {number}",
                "price": 5 + number,
                "category": "drill",
                "sku": f"DRILL-{self.seed}-{number}",
                "stock_quantity": stock,
            }
            key = f"product-{self.seed}-{number}"
            self.products.append(await self.staff.create_product(product, key=key))

    async def place_orders(self, orders: int) -> None:
        """Place orders concurrently, and cancel or fulfil some of them."""
        numbers = iter(range(orders))
        self.watchdog.reset()

        async def place_next() -> None:
            for number in numbers:
                try:
                    await self._order(number)
                except ExpectationFailed as error:
                    self.errors.append(f"order {number}: {error}")

        async with asyncio.TaskGroup() as group:
            for _ in range(min(self.concurrency, orders)):
                group.create_task(place_next())

    async def _order(self, number: int) -> None:
        chance = random.Random(f"{self.seed}/order/{number}")  # noqa: S311  # repeatable, not secret
        customer = self.customers[number % len(self.customers)]
        chosen = chance.sample(self.products, chance.randint(1, min(3, len(self.products))))
        [method] = chance.choices(list(METHOD_WEIGHTS), list(METHOD_WEIGHTS.values()))
        items = [order_item(each, chance.randint(1, 3)) for each in chosen]
        key = f"drill-{self.seed}-{number}"
        order_id = await customer.place_order(order_draft(*items, payment_method=method), key=key)
        self.acknowledged[key] = order_id
        self.watchdog.reset()
        self.on_order(len(self.acknowledged))
        outcome = chance.random()
        if outcome < _CANCELLED:
            await customer.request_until_final("POST", f"/orders/{order_id}/cancel", {}, key=f"{key}-cancel")
        elif outcome < _CANCELLED + _FULFILLED:
            actions: Sequence[str] = ("ship", "deliver", "return")[: chance.randint(1, 3)]
            await self._fulfil(order_id, key, actions)

    async def _fulfil(self, order_id: str, key: str, actions: Sequence[str]) -> None:
        """Apply the staff's actions to an order once it is confirmed; none if it fails. Raises ExpectationFailed."""
        if await self._settled_status(order_id) != "confirmed":
            return
        for action in actions:
            await self.staff.request_until_final("POST", f"/orders/{order_id}/{action}", key=f"{key}-{action}")

    async def _settled_status(self, order_id: str) -> str:
        """Wait until an order is confirmed, failed or cancelled. Raises ExpectationFailed if no order progresses."""
        known, polls = "unknown", 0
        while (status := str((await self.staff.get(f"/orders/{order_id}"))["status"])) not in _SETTLED:
            if status != known:
                known, polls = status, 0
                self.watchdog.reset()
            if self.watchdog.has_expired:
                raise NoResponse(
                    f"{order_id} is still {status}, and no order progressed for {self.watchdog.within:.0f} s"
                )
            polls += 1
            await asyncio.sleep(_POLLS.delay(polls))
        self.watchdog.reset()
        return status
