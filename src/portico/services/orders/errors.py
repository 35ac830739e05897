from collections.abc import Sequence

from portico.contracts.catalog import ProductId
from portico.contracts.orders import OrderId, OrderStatus
from portico.kit import Conflict, NotFound, Unprocessable


class OrderNotFound(NotFound):
    code = "order_not_found"
    detail = "There is no order {order_id}."

    order_id: OrderId


class IllegalTransition(Conflict):
    """What was asked for can't follow from how the order stands."""

    code = "illegal_transition"
    detail = "An order that is {current} can't become {wanted}. What can follow: {following}."

    order_id: OrderId
    current: OrderStatus
    wanted: OrderStatus
    legal: Sequence[OrderStatus]

    def sentence(self) -> str:
        return self.detail.format(following=", ".join(self.legal) or "nothing", **self.data())


class ProductsUnknown(Unprocessable):
    code = "products_unknown"
    detail = "These are no products that can be ordered: {listed}."
    location = ("body", "items")

    product_ids: Sequence[ProductId]

    def sentence(self) -> str:
        return self.detail.format(listed=", ".join(self.product_ids))


class PriceChanged(Conflict):
    """The catalogue's price is another one by now."""

    code = "price_changed"
    detail = "'{name}' costs {price} {currency} by now. Order again with that price, or without one."

    product_id: ProductId
    name: str
    price: float
    currency: str


class MixedCurrencies(Unprocessable):
    code = "mixed_currencies"
    detail = "One order is paid in one currency, and these products have several: {listed}. Order them apart."
    location = ("body", "items")

    currencies: Sequence[str]

    def sentence(self) -> str:
        return self.detail.format(listed=", ".join(self.currencies))


class OrderTooLarge(Unprocessable):
    code = "order_too_large"
    detail = "The total of an order is at most {most} {currency}."
    location = ("body", "items")

    most: int
    currency: str


class PaymentMethodMissing(Unprocessable):
    code = "payment_method_missing"
    detail = "Say how it is paid: payment_method."
    location = ("body", "payment_method")
