"""What a shop of the demo sells, and how an order of it is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from portico.demo.walkthrough import NotAsItShouldBe

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
"""How customers pay: every method of the simulated provider."""

ADDRESS = {"street": "1 Quay Street", "city": "Porto", "state": "PT-13", "zip": "4050-001", "country": "PT"}
CURRENCY = "USD"

_PLENTY = 80
_SCARCE = 5
_KINDS = 20  # products that customers choose from


@dataclass(frozen=True)
class Shelf:
    """Products of one currency, so that any of them go into one order.

    Args:
        plenty: of which there is enough for everybody.
        scarce: of which there is not.
    """

    plenty: Sequence[Mapping[str, Any]]
    scarce: Mapping[str, Any]

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]]) -> "Shelf":
        """The shelf that these rows of a product file fill. Raises NotAsItShouldBe."""
        sold = [row for row in rows if row["currency"] == CURRENCY]
        plenty = [row for row in sold if row["stock_quantity"] >= _PLENTY][:_KINDS]
        scarce = [row for row in sold if 0 < row["stock_quantity"] <= _SCARCE][:1]
        if not plenty or not scarce:
            raise NotAsItShouldBe(
                "the product file has too little in stock to fill a shop; load more of it (--products)"
            )
        return cls(plenty, scarce[0])

    @property
    def all(self) -> list[Mapping[str, Any]]:
        """All that may be ordered."""
        return [*self.plenty, self.scarce]


def order_of(*items: tuple[Mapping[str, Any], int], method: str = "pm_ok", **others: Any) -> dict[str, Any]:
    """What `POST /orders` takes for so many of each product, at the price that the customer has seen."""
    lines = [{"product_id": row["product_id"], "quantity": number, "price": row["price"]} for row, number in items]
    return {
        "items": lines,
        "shipping_address": ADDRESS,
        "billing_address": ADDRESS,
        "payment_method": method,
        **others,
    }
