"""The requests of commerce whose cost bench/growth.py compares."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol


class Sizes(Protocol):
    """A system with a number of products and orders, and the links to the second pages of its lists."""

    products: int
    orders: int
    next_pages: dict[str, str]


@dataclass(frozen=True)
class Request:
    """A kind of request.

    Args:
        caller: ADMIN, JANE, SERVICE, or ANONYMOUS.
        path: path with placeholders in braces for values that differ between requests.
        method: HTTP method.
        body: creates the body.
        part: service that gets the request, or the gateway.
    """

    caller: str
    path: str
    method: str = "GET"
    body: Callable[[Sizes, int], Any] | None = None
    part: str = "gateway"

    def path_of(self, sizes: Sizes, number: int) -> str:
        """Return the path of one request."""
        order = max(20, spread(number, sizes.orders) // 20 * 20)  # every twentieth order is Jane's
        return self.path.format(
            n=f"{number:04d}",
            second=number % 60,
            product=product(sizes, number),
            order=f"{order:026d}",
            **sizes.next_pages,
        )


def spread(number: int, most: int) -> int:
    """Return a number from 1 to `most`. Consecutive arguments give numbers that are far apart."""
    return number * 7919 % most + 1


def product(sizes: Sizes, number: int) -> str:
    """Return the id of a product."""
    return f"prod_{spread(number, sizes.products):026d}"


def _items(sizes: Sizes, number: int) -> Any:
    return {"items": [{"product_id": product(sizes, number * 10 + each), "quantity": 1} for each in range(10)]}


def _price(_: Sizes, number: int) -> Any:
    return {"price": number / 4 + 1}


ANONYMOUS, ADMIN, JANE, SERVICE = "", "admin", "jane", "service"
PAGED = {
    "lamps": (ANONYMOUS, "/products?limit=20&category=lamp"),
    "found": (ANONYMOUS, "/products?limit=20&search=quality"),
    "own_orders": (JANE, "/orders?limit=20"),
    "orders": (ADMIN, "/orders?limit=20"),
    "shipped": (ADMIN, "/orders?limit=20&status=shipped"),
    "payments": (ADMIN, "/payments?limit=20"),
    "notifications": (ADMIN, "/notifications?limit=20"),
    "users": (ADMIN, "/users?limit=20"),
    "audit": (ADMIN, "/audit?limit=20"),
}
"""Lists whose second page is measured: the caller and the first page."""

REQUESTS = {
    "products, first page (count)": Request(ANONYMOUS, "/products?limit=20&min_price=0.{n}"),
    "products of a category (count)": Request(ANONYMOUS, "/products?limit=20&category=lamp&min_price=0.{n}"),
    "products by price (count)": Request(ANONYMOUS, "/products?limit=20&sort=price&min_price=0.{n}"),
    "products in stock by name (count)": Request(
        ANONYMOUS, "/products?limit=20&sort=name&in_stock=true&min_price=0.{n}"
    ),
    "products of a category, second page": Request(ANONYMOUS, "{lamps}&min_price=0.{n}"),
    "search, a common word (count)": Request(ANONYMOUS, "/products?limit=20&search=quality&min_price=0.{n}"),
    "search, a common word, second page": Request(ANONYMOUS, "{found}&min_price=0.{n}"),
    "search, two common words (count)": Request(ANONYMOUS, "/products?limit=20&search=quality+lamp&min_price=0.{n}"),
    "search, two common words, none with both": Request(
        ANONYMOUS, "/products?limit=20&search=quality+chair&min_price=0.{n}"
    ),
    "search, a rare word": Request(ANONYMOUS, "/products?limit=20&search=unicorn&min_price=0.{n}"),
    "search, a common and a rare word": Request(ANONYMOUS, "/products?limit=20&search=quality+unicorn&min_price=0.{n}"),
    "search, a common and an unknown word": Request(ANONYMOUS, "/products?limit=20&search=quality+zebra{n}"),
    "a product": Request(ANONYMOUS, "/products/{product}"),
    "change a product": Request(ADMIN, "/products/{product}", "PATCH", _price),
    "stock of a product": Request(ANONYMOUS, "/inventory/{product}"),
    "stock of a product in the past": Request(ADMIN, "/inventory/{product}?at=2026-11-01T00:00:{second:02d}Z"),
    "ledger of a product": Request(ADMIN, "/inventory/{product}/transactions"),
    "availability of 10 products": Request(SERVICE, "/inventory/availability", "POST", _items, part="catalog"),
    "own orders, first page": Request(JANE, "/orders?limit=20"),
    "own orders, second page": Request(JANE, "{own_orders}"),
    "all orders, first page": Request(ADMIN, "/orders?limit=20"),
    "all orders, second page": Request(ADMIN, "{orders}"),
    "shipped orders, first page": Request(ADMIN, "/orders?limit=20&status=shipped"),
    "shipped orders, second page": Request(ADMIN, "{shipped}"),
    "failed orders (none)": Request(ADMIN, "/orders?limit=20&status=failed"),
    "own failed orders (none)": Request(JANE, "/orders?limit=20&status=failed"),
    "an order": Request(JANE, "/orders/ord_{order}"),
    "timeline of an order": Request(JANE, "/orders/ord_{order}/timeline"),
    "payments of an order": Request(JANE, "/orders/ord_{order}/payments"),
    "totals of 100 orders": Request(SERVICE, "/orders/totals?limit=100&after=ord_{order}", part="orders"),
    "totals of failed orders (none)": Request(SERVICE, "/orders/totals?status=failed", part="orders"),
    "own payments, first page": Request(JANE, "/payments?limit=20"),
    "all payments, first page": Request(ADMIN, "/payments?limit=20"),
    "all payments, second page": Request(ADMIN, "{payments}"),
    "payments by order": Request(ADMIN, "/payments?limit=20&order_id=ord_{order}"),
    "a payment": Request(JANE, "/payments/pay_{order}"),
    "refunds of a payment": Request(JANE, "/payments/pay_{order}/refunds"),
    "reconcile, first page (sums the ledger)": Request(ADMIN, "/ledger/reconcile?limit=100"),
    "own notifications, first page": Request(JANE, "/notifications?limit=20"),
    "all notifications, first page": Request(ADMIN, "/notifications?limit=20"),
    "all notifications, second page": Request(ADMIN, "{notifications}"),
    "failed notifications (none)": Request(ADMIN, "/notifications?limit=20&status=failed"),
    "notifications by order": Request(ADMIN, "/notifications?limit=20&order_id=ord_{order}"),
    "a notification": Request(JANE, "/notifications/ntf_{order}"),
    "users, first page": Request(ADMIN, "/users?limit=20"),
    "users, second page": Request(ADMIN, "{users}"),
    "own sessions": Request(JANE, "/auth/sessions?limit=20"),
    "audit log, first page": Request(ADMIN, "/audit?limit=20"),
    "audit log, second page": Request(ADMIN, "{audit}"),
    "audit log of an action (none)": Request(ADMIN, "/audit?limit=20&action=user.deleted"),
    "health with all checks": Request(ADMIN, "/health/detailed", part="orders"),
}
"""Requests by name. "count" marks first pages whose rows are counted, because each request has a new filter."""
