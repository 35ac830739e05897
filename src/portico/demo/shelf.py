"""The products that customers of the demo order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from portico.gateway_client import ExpectationFailed
from portico.shop_client import order_draft, order_item

METHODS = (
    "pm_ok",
    "pm_slow",
    "pm_error_then_ok",
    "pm_timeout_then_charged",
    "pm_duplicate_webhook",
    "pm_ok",
    "pm_declined",
    "pm_ok",
    "pm_insufficient_funds",
    "pm_ok",
)
"""The payment methods that customers use in turn: every method of the simulated provider."""

CURRENCY = "USD"

_PLENTY = 80
_SCARCE = 5
_MAX_PRODUCTS = 20


@dataclass(frozen=True)
class Shelf:
    """Products of one currency, so that any of them can be in one order.

    Args:
        plenty: products with enough stock for all customers.
        scarce: a product with too little stock.
    """

    plenty: Sequence[Mapping[str, Any]]
    scarce: Mapping[str, Any]

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]]) -> "Shelf":
        """Choose products from the rows of a product file. Raises ExpectationFailed."""
        sold = [row for row in rows if row["currency"] == CURRENCY]
        plenty = [row for row in sold if row["stock_quantity"] >= _PLENTY][:_MAX_PRODUCTS]
        scarce = [row for row in sold if 0 < row["stock_quantity"] <= _SCARCE][:1]
        if not plenty or not scarce:
            raise ExpectationFailed("The product file has too few products in stock. Load more of it (--products).")
        return cls(plenty, scarce[0])

    @property
    def all(self) -> list[Mapping[str, Any]]:
        """All products that may be ordered."""
        return [*self.plenty, self.scarce]


def order_of(*lines: tuple[Mapping[str, Any], int], method: str = "pm_ok", **others: Any) -> dict[str, Any]:
    """Return the body of `POST /orders` for quantities of products, at the prices that the customer has seen."""
    items = [order_item(row["product_id"], quantity, row["price"]) for row, quantity in lines]
    return order_draft(*items, payment_method=method, **others)
