"""Concurrent customers who use every payment method. Some cancel their orders, and some return them."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from portico.demo.accounts import Account
from portico.demo.progress import raise_first_error, run_concurrently
from portico.demo.shelf import METHODS, Shelf, order_of
from portico.demo.walkthrough import Walk
from portico.gateway_client import ExpectationFailed, NoResponse

ORDERS_EACH = 2
OUTCOMES: Mapping[str, Sequence[str]] = {
    "shipped": ("ship",),
    "returned": ("ship", "deliver", "return"),
    "delivered": ("ship", "deliver"),
    "cancelled": (),
    "cancelled once confirmed": (),
    "confirmed": (),
    "confirmed, not followed": (),
}
"""What happens to orders in turn, and the staff's actions for it. Their number has no common divisor with that of the payment methods."""

_CONCURRENT_SIGN_UPS = 8
_UNSETTLED = {"pending", "reserved", "paid"}
_RECONNECT_PAUSE = 0.5  # seconds
_TIMEOUT = 120.0  # seconds
_ACCEPTED = {200, 202}


@dataclass
class Crowd:
    """Customers who order at the same time.

    Args:
        walk: to the gateway.
        shelf: the products.
        staff: the account that ships orders.
        suffix: makes the accounts differ from those of other walkthroughs.
        size: the number of customers.
    """

    walk: Walk
    shelf: Shelf
    staff: Account
    suffix: str
    size: int
    customers: list[Account] = field(default_factory=list)
    placed: list[str] = field(default_factory=list)

    async def sign_up(self) -> None:
        """Create an account for each customer. Raises ExpectationFailed."""
        self.walk.section(f"{self.size} customers sign up")
        self.customers = [Account.new(f"customer-{number}", self.suffix) for number in range(self.size)]
        await run_concurrently(
            self.walk.console, "signed up", self.customers, self._register, limit=_CONCURRENT_SIGN_UPS
        )
        self.walk.report(f"{self.size} customers have a token")

    async def shop(self, kill: Callable[[str], Awaitable[None]] | None, targets: Sequence[str]) -> None:
        """Place all orders concurrently, and kill each of `targets` meanwhile. Raises ExpectationFailed."""
        self.walk.section(f"They place {self._total} orders at the same time, with every payment method")
        orders = list(enumerate(self.customers * ORDERS_EACH))
        with raise_first_error():
            await self._order_all(orders, kill, targets)
        methods = Counter(METHODS[number % len(METHODS)] for number in range(self._total))
        self.walk.report(f"{len(self.placed)} orders placed: {', '.join(f'{n} {m}' for m, n in methods.items())}")
        if self.walk.retries:
            self.walk.report(f"{self.walk.retries} requests had no final response, and were repeated with the same key")

    @property
    def _total(self) -> int:
        return self.size * ORDERS_EACH

    async def _order_all(
        self, orders: Sequence[Any], kill: Callable[[str], Awaitable[None]] | None, targets: Sequence[str]
    ) -> None:
        async with asyncio.TaskGroup() as group:
            if kill is not None:
                group.create_task(self._kill_all(kill, targets))
            group.create_task(run_concurrently(self.walk.console, "ordered", orders, self._order, limit=self.size))

    async def _register(self, customer: Account) -> None:
        client = await self.walk.client().register(customer.email, customer.password, customer.name)
        customer.token, customer.user_id = client.token, client.user_id

    async def _kill_all(self, kill: Callable[[str], Awaitable[None]], targets: Sequence[str]) -> None:
        """Kill one target after the other, spread over the time in which orders are placed."""
        for number, name in enumerate(targets, 1):
            orders = self._total * number // (len(targets) + 1)
            await self.walk.until(
                partial(self._has_placed, orders), within=_TIMEOUT, what=f"{orders} orders are placed"
            )
            await kill(name)
            self.walk.report(f"{name} is killed (SIGKILL) after {len(self.placed)} orders")

    async def _has_placed(self, orders: int) -> bool:
        return len(self.placed) >= orders

    async def _order(self, numbered: tuple[int, Account]) -> None:
        number, customer = numbered
        method, outcome = METHODS[number % len(METHODS)], list(OUTCOMES)[number % len(OUTCOMES)]
        plenty = self.shelf.plenty
        lines = [(plenty[number % len(plenty)], 1 + number % 2)]
        if number % 4 == 0:  # so many orders exceed the stock of the scarce product
            lines.append((self.shelf.scarce, 1))
        key = f"{self.suffix}-{number}"
        order_id = await self.walk.client(customer.token).place_order(order_of(*lines, method=method), key=key)
        self.placed.append(order_id)
        await self._complete(order_id, customer, outcome, key)

    async def _complete(self, order_id: str, customer: Account, outcome: str, key: str) -> None:
        if outcome == "cancelled":
            await self._act(order_id, "cancel", customer, key)
        elif outcome.startswith("confirmed") or await self._wait_until_settled(order_id, customer) != "confirmed":
            return
        elif outcome == "cancelled once confirmed":
            await self._act(order_id, "cancel", customer, key)
        for action in OUTCOMES[outcome]:
            await self._act(order_id, action, self.staff, key)

    async def _act(self, order_id: str, action: str, account: Account, key: str) -> None:
        """Request an action on an order. A cancellation may be rejected, because the order has failed meanwhile."""
        path = f"/orders/{order_id}/{action}"
        response = await self.walk.client(account.token).request_until_final("POST", path, key=f"{key}-{action}")
        if response.status not in _ACCEPTED and action != "cancel":
            raise ExpectationFailed(f"{path}: got {response.status}: {response.text(300)}")
        if response.status not in _ACCEPTED:
            response.expect(409, code="illegal_transition", current="failed")

    async def _wait_until_settled(self, order_id: str, customer: Account) -> str:
        """Follow an order until it is settled, and reconnect if the connection fails; return its status."""
        until = time.monotonic() + _TIMEOUT
        while True:
            try:
                messages = await self.walk.follow(
                    f"/orders/{order_id}/live",
                    token=customer.token,
                    until=lambda message: message["status"] not in _UNSETTLED,
                    within=max(1.0, until - time.monotonic()),
                    quiet=True,
                )
            except NoResponse:
                if time.monotonic() > until:
                    raise
                self.walk.retries += 1
                await asyncio.sleep(_RECONNECT_PAUSE)
            else:
                return str(messages[-1]["status"])
