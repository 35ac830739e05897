from collections.abc import Sequence

from portico.contracts.catalog import ProductId
from portico.contracts.orders import OrderId, OrderStatus
from portico.kit import Conflict, NotFound, Unprocessable


class OrderNotFound(NotFound):
    detail = "Order {order_id} not found."

    order_id: OrderId


class IllegalTransition(Conflict):
    """The order's status does not allow this change."""

    detail = "An order in status '{current}' cannot change to '{wanted}'. Allowed next statuses: {allowed}."

    order_id: OrderId
    current: OrderStatus
    wanted: OrderStatus
    legal: Sequence[OrderStatus]

    def sentence(self) -> str:
        return self.detail.format(allowed=", ".join(self.legal) or "none", **self.data())


class ProductsUnknown(Unprocessable):
    detail = "Unknown products: {listed}."
    location = ("body", "items")

    product_ids: Sequence[ProductId]

    def sentence(self) -> str:
        return self.detail.format(listed=", ".join(self.product_ids))


class PriceChanged(Conflict):
    """The catalog's price differs from the price in the request."""

    detail = "The price of '{name}' is now {price} {currency}. Retry with the new price, or omit the price."

    product_id: ProductId
    name: str
    price: float
    currency: str


class MixedCurrencies(Unprocessable):
    detail = "An order has one currency, but these products use several: {listed}. Order them separately."
    location = ("body", "items")

    currencies: Sequence[str]

    def sentence(self) -> str:
        return self.detail.format(listed=", ".join(self.currencies))


class OrderTooLarge(Unprocessable):
    detail = "The total of an order may not exceed {maximum} {currency}."
    location = ("body", "items")

    maximum: int
    currency: str


class PaymentMethodMissing(Unprocessable):
    detail = "`payment_method` is required."
    location = ("body", "payment_method")
