"""How an order may go on from how it stands, and what it costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from portico.contracts.catalog import ProductId, ProductSummary
from portico.contracts.orders import OrderStatus
from portico.kit import Money
from portico.kit.foundation import LARGEST, json_number
from portico.services.orders.errors import MixedCurrencies, OrderTooLarge, PriceChanged, ProductsUnknown

CALLED_OFF: Final[tuple[OrderStatus, ...]] = ("cancelled", "failed")

LEGAL: Final[Mapping[OrderStatus, tuple[OrderStatus, ...]]] = {
    "pending": ("reserved", *CALLED_OFF),
    "reserved": ("paid", *CALLED_OFF),
    "paid": ("confirmed", *CALLED_OFF),
    "confirmed": ("shipped", *CALLED_OFF),
    "shipped": ("delivered",),
    "delivered": ("returned",),
    "returned": (),
    "cancelled": (),
    "failed": (),
}
"""What may follow each state."""

UNSETTLED: Final[frozenset[OrderStatus]] = frozenset({"pending", "reserved", "paid"})
"""the states in which the saga that places the order is still at work"""

MOST_PAID: Final = LARGEST // 100  # of any currency, as people write it


def is_final(status: OrderStatus) -> bool:
    """Whether nothing can follow."""
    return not LEGAL[status]


@dataclass(frozen=True, slots=True)
class Wanted:
    """So many of a product, at the price that the caller has seen, where it says one."""

    product_id: ProductId
    quantity: int
    price: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """So many of a product, called so, at this price for each."""

    product_id: ProductId
    name: str
    quantity: int
    price: Money


@dataclass(frozen=True, slots=True)
class Basket:
    """Priced lines, all in one currency."""

    lines: tuple[Line, ...]
    total: Money


def priced(wanted: Sequence[Wanted], products: Mapping[ProductId, ProductSummary]) -> Basket:
    """What `wanted` costs by the catalogue's prices.

    Raises:
        ProductsUnknown: some are not in `products`.
        MixedCurrencies: they are not sold in one currency.
        PriceChanged: one costs something else than the caller has seen.
        OrderTooLarge: the total is more than money can be.
    """
    if unknown := [each.product_id for each in wanted if each.product_id not in products]:
        raise ProductsUnknown(product_ids=unknown)
    currencies = sorted({products[each.product_id].currency for each in wanted})
    if len(currencies) > 1:
        raise MixedCurrencies(currencies=currencies)
    lines = tuple(_line(each, products[each.product_id]) for each in wanted)
    total = Money(sum(line.price.minor * line.quantity for line in lines), currencies[0])
    if total.amount > MOST_PAID:
        raise OrderTooLarge(most=MOST_PAID, currency=total.currency)
    return Basket(lines, total)


def _line(wanted: Wanted, product: ProductSummary) -> Line:
    price = Money.of(product.price, product.currency)
    if wanted.price is not None and wanted.price != product.price:
        raise PriceChanged(
            product_id=product.product_id,
            name=product.name,
            price=json_number(price.minor, price.currency),
            currency=price.currency,
        )
    return Line(product.product_id, product.name, wanted.quantity, price)
