"""Read orders, stock, payments and mails through the gateway, with staff permissions."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from portico.demo.accounts import Account
from portico.demo.invariants import ShopRecords, Stock
from portico.demo.shelf import Shelf
from portico.demo.walkthrough import Walk
from portico.gateway_client import next_link

_PAGE = 500


@dataclass(frozen=True)
class ShopRecordsReader:
    """Reads the data that a walkthrough left.

    Args:
        walk: to the gateway.
        staff: an account with staff permissions.
        shelf: the products.
        placed: the acknowledged orders, oldest first.
        users: the ids of the customers.
    """

    walk: Walk
    staff: Account
    shelf: Shelf
    placed: Collection[str]
    users: Collection[str]

    async def orders(self) -> list[Any]:
        """Return all orders of these customers. Raises ExpectationFailed."""
        first = next(iter(self.placed))
        found = await self._read_pages("/orders", lambda order: bool(order["order_id"] == first))
        return [order for order in found if order["user_id"] in self.users]

    async def read(self) -> ShopRecords:
        """Return everything except dead letters, which no service serves. Raises ExpectationFailed."""
        orders = await self.orders()
        ids = {order["order_id"] for order in orders}
        first = next(iter(self.placed))
        payments = await self._read_pages("/payments", lambda payment: bool(payment["order_id"] == first))
        mails = await self._read_pages(
            "/notifications", lambda mail: (mail["order_id"], mail["template"]) == (first, "order-confirmed")
        )
        return ShopRecords(
            placed=self.placed,
            orders=orders,
            stock=[await self._stock(row) for row in self.shelf.all],
            payments=[each for each in payments if each["order_id"] in ids],
            mails=[each for each in mails if each["order_id"] in ids],
            reconciled=await self._reconciled(),
        )

    async def _stock(self, row: Mapping[str, Any]) -> Stock:
        path = f"/inventory/{row['product_id']}"
        level = await self.walk.client().get(path)
        ledger = await self._read_pages(f"{path}/transactions", lambda _: False)
        return Stock(row["product_id"], row["stock_quantity"], level, ledger)

    async def _reconciled(self) -> list[Any]:
        pages: list[Any] = []
        cursor = ""
        while not pages or pages[-1]["next_cursor"] is not None:
            pages.append(await self.walk.client(self.staff.token).get(f"/ledger/reconcile{cursor}"))
            cursor = f"?cursor={pages[-1]['next_cursor']}"
        return pages

    async def _read_pages(self, path: str, is_last: Callable[[Any], bool]) -> list[Any]:
        """Read a list, newest first, up to the page with a row for which `is_last` holds."""
        found: list[Any] = []
        following: str | None = f"{path}?limit={_PAGE}"
        while following is not None:
            response = await self.walk.client(self.staff.token).request_until_final("GET", following)
            page = response.expect(200).json()
            found += page
            following = None if any(map(is_last, page)) else next_link(response.headers.get("link", ""))
        return found
