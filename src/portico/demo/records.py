"""Reading the books of a shop through its gateway, as its staff may."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from portico.demo.invariants import Books, Stock
from portico.demo.people import Person
from portico.demo.shelf import Shelf
from portico.demo.walkthrough import Walk

_PAGE = 500


@dataclass(frozen=True)
class Bookkeeper:
    """Reads what a walk left.

    Args:
        walk: to the gateway.
        staff: may read everything.
        shelf: what could be ordered.
        placed: the orders that customers were told of, the oldest first.
        people: the customers' ids.
    """

    walk: Walk
    staff: Person
    shelf: Shelf
    placed: Collection[str]
    people: Collection[str]

    async def orders(self) -> list[Any]:
        """All orders of these customers. Raises NotAsItShouldBe."""
        first = next(iter(self.placed))
        found = await self._back_to("/orders", lambda order: bool(order["order_id"] == first))
        return [order for order in found if order["user_id"] in self.people]

    async def books(self) -> Books:
        """All of it, but for dead letters, which no service tells of. Raises NotAsItShouldBe."""
        orders = await self.orders()
        ids = {order["order_id"] for order in orders}
        first = next(iter(self.placed))
        payments = await self._back_to("/payments", lambda payment: bool(payment["order_id"] == first))
        mails = await self._back_to(
            "/notifications", lambda mail: (mail["order_id"], mail["template"]) == (first, "order-confirmed")
        )
        return Books(
            placed=self.placed,
            orders=orders,
            stock=[await self._stock(row) for row in self.shelf.all],
            payments=[each for each in payments if each["order_id"] in ids],
            mails=[each for each in mails if each["order_id"] in ids],
            reconciled=await self._reconciled(),
        )

    async def _stock(self, row: Mapping[str, Any]) -> Stock:
        path = f"/inventory/{row['product_id']}"
        level = (await self.walk.insist("GET", path)).expect(200).json()
        ledger = await self._back_to(f"{path}/transactions", lambda _: False)
        return Stock(row["product_id"], row["stock_quantity"], level, ledger)

    async def _reconciled(self) -> list[Any]:
        pages: list[Any] = []
        cursor = ""
        while not pages or pages[-1]["next_cursor"] is not None:
            path = f"/ledger/reconcile{cursor}"
            pages.append((await self.walk.insist("GET", path, token=self.staff.token)).expect(200).json())
            cursor = f"?cursor={pages[-1]['next_cursor']}"
        return pages

    async def _back_to(self, path: str, enough: Callable[[Any], bool]) -> list[Any]:
        """A list, the newest first, page after page, up to the page that has what is `enough`."""
        found: list[Any] = []
        following: str | None = f"{path}?limit={_PAGE}"
        while following is not None:
            answer = await self.walk.insist("GET", following, token=self.staff.token)
            page = answer.expect(200).json()
            found += page
            link = re.search(r'<([^>]+)>; rel="next"', answer.headers.get("link", ""))
            following = link[1] if link and not any(map(enough, page)) else None
        return found
