from decimal import Decimal
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from portico.contracts.catalog import ProductId
from portico.contracts.orders import OrderId, OrderStatus
from portico.contracts.payments import PaymentId, PaymentStatus
from portico.kit import Amount, Moment, OneLine, Schema, UserId
from portico.services.orders.domain import RequestedItem
from portico.services.orders.models import METHOD_LENGTH

MAX_ITEMS = 100
MAX_PIECES = 10_000
_LINE_LENGTH = 200

AddressLine = Annotated[str, OneLine(_LINE_LENGTH)]
PaymentMethod = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=METHOD_LENGTH, pattern=r"^[!-~]+$")
]


class Address(Schema):
    street: AddressLine = Field(examples=["1 Quay"])
    city: AddressLine = Field(examples=["Porto"])
    state: AddressLine = Field(examples=["13"])
    zip: Annotated[str, OneLine(20)] = Field(examples=["4050"])
    country: AddressLine = Field(examples=["PT"])


class ItemCreate(Schema):
    """A quantity of a product. With `price`, the order is rejected if the catalog's price differs."""

    product_id: ProductId
    quantity: Annotated[int, Field(ge=1, le=MAX_PIECES, examples=[2])]
    price: Amount | None = None


class OrderCreate(Schema):
    items: Annotated[list[ItemCreate], Field(min_length=1, max_length=MAX_ITEMS)]
    shipping_address: Address
    billing_address: Address
    user_id: UserId | None = None
    payment_method: PaymentMethod | None = Field(None, examples=["pm_ok"])

    @model_validator(mode="after")
    def _each_product_once(self) -> Self:
        if len({item.product_id for item in self.items}) < len(self.items):
            raise ValueError("each product may appear only once")
        return self

    @property
    def requested(self) -> list[RequestedItem]:
        return [RequestedItem(item.product_id, item.quantity, item.price) for item in self.items]


class ItemRead(Schema):
    product_id: ProductId
    name: str = Field(examples=["Desk lamp"])
    quantity: int = Field(examples=[2])
    price: Amount = Field(examples=[49.9])
    subtotal: Amount = Field(examples=[99.8])


class OrderRead(Schema):
    """An order. `failure_reason` is a code, `failure_detail` a sentence."""

    order_id: OrderId
    user_id: UserId
    status: OrderStatus
    items: list[ItemRead]
    currency: str = Field(examples=["USD"])
    total: Amount = Field(examples=[99.8])
    shipping_address: Address
    billing_address: Address
    failure_reason: str | None
    failure_detail: str | None
    created_at: Moment
    updated_at: Moment


class OrderTotalRead(Schema):
    """Total and status of an order, for services."""

    order_id: OrderId
    user_id: UserId
    status: OrderStatus
    total: Amount
    currency: str


class LiveStatusRead(Schema):
    """A message of the live status: the current status of the order."""

    order_id: OrderId
    status: OrderStatus
    failure_reason: str | None
    updated_at: Moment


class SkipCreate(Schema):
    """Why a step is skipped: what was done manually, and who did it."""

    reason: Annotated[str, OneLine(500)] = Field(examples=["Refunded at the provider by hand"])


def _without_trailing_zeros(amount: Any) -> Any:
    if isinstance(amount, Decimal):
        return amount.normalize() if amount else Decimal(0)
    return amount


ExactAmount = Annotated[Amount, BeforeValidator(_without_trailing_zeros)]


class OrderPaymentRead(Schema):
    """A payment of an order. Money is in `currency`."""

    payment_id: PaymentId
    status: PaymentStatus
    amount: ExactAmount = Field(examples=[99.8])
    refunded: ExactAmount = Field(examples=[0])
    currency: str = Field(examples=["USD"])
    method: str = Field(examples=["pm_ok"])
    failure_reason: str | None
    created_at: Moment
