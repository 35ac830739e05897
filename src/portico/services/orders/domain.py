"""The order's state machine, and the price of a basket."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from portico.contracts.catalog import ProductId, ProductSummary
from portico.contracts.orders import OrderStatus
from portico.kit import Money
from portico.kit.foundation import MAX_MINOR_UNITS, json_number
from portico.services.orders.errors import MixedCurrencies, OrderTooLarge, PriceChanged, ProductsUnknown

ABANDONED: Final[tuple[OrderStatus, ...]] = ("cancelled", "failed")

LEGAL: Final[Mapping[OrderStatus, tuple[OrderStatus, ...]]] = {
    "pending": ("reserved", *ABANDONED),
    "reserved": ("paid", *ABANDONED),
    "paid": ("confirmed", *ABANDONED),
    "confirmed": ("shipped", *ABANDONED),
    "shipped": ("delivered",),
    "delivered": ("returned",),
    "returned": (),
    "cancelled": (),
    "failed": (),
}
"""The statuses that may follow each status."""

UNSETTLED: Final[frozenset[OrderStatus]] = frozenset({"pending", "reserved", "paid"})
"""Statuses in which the place-order saga is still running."""

MAX_PAID: Final = MAX_MINOR_UNITS // 100  # in major units of any currency


def is_final(status: OrderStatus) -> bool:
    """Return whether no status can follow."""
    return not LEGAL[status]


@dataclass(frozen=True, slots=True)
class RequestedItem:
    """A quantity of a product, with the price that the caller expects, if given."""

    product_id: ProductId
    quantity: int
    price: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """A quantity of a product, with its name and unit price."""

    product_id: ProductId
    name: str
    quantity: int
    price: Money


@dataclass(frozen=True, slots=True)
class Basket:
    """Priced lines in one currency."""

    lines: tuple[Line, ...]
    total: Money


def price_items(requested: Sequence[RequestedItem], products: Mapping[ProductId, ProductSummary]) -> Basket:
    """Price the items with the catalog's products.

    Raises:
        ProductsUnknown: some items are not in `products`.
        MixedCurrencies: the products have several currencies.
        PriceChanged: a price differs from the expected one.
        OrderTooLarge: the total exceeds the limit.
    """
    if unknown := [each.product_id for each in requested if each.product_id not in products]:
        raise ProductsUnknown(product_ids=unknown)
    currencies = sorted({products[each.product_id].currency for each in requested})
    if len(currencies) > 1:
        raise MixedCurrencies(currencies=currencies)
    lines = tuple(_line(each, products[each.product_id]) for each in requested)
    total = Money(sum(line.price.minor * line.quantity for line in lines), currencies[0])
    if total.amount > MAX_PAID:
        raise OrderTooLarge(maximum=MAX_PAID, currency=total.currency)
    return Basket(lines, total)


def _line(requested: RequestedItem, product: ProductSummary) -> Line:
    price = Money.of(product.price, product.currency)
    if requested.price is not None and requested.price != product.price:
        raise PriceChanged(
            product_id=product.product_id,
            name=product.name,
            price=json_number(price.minor, price.currency),
            currency=price.currency,
        )
    return Line(product.product_id, product.name, requested.quantity, price)
