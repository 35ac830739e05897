"""The client and the events of orders: status changes and totals."""

from collections.abc import Collection
from decimal import Decimal
from typing import Literal

from pydantic import BaseModel, ConfigDict

from portico.contracts.catalog import ProductId
from portico.kit import Amount, Client, Event, Identifier, Summary, UserId

OrderStatus = Literal[
    "pending", "reserved", "paid", "confirmed", "shipped", "delivered", "returned", "cancelled", "failed"
]
"""The status of an order. `cancelled` and `failed` are final and precede any shipment."""

SOLD: tuple[OrderStatus, ...] = ("confirmed", "shipped", "delivered")
"""The statuses in which an order is paid and not refunded."""


class OrderId(Identifier, prefix="ord"):
    """Id of an order."""


class OrderedItem(BaseModel):
    """One line of an order. `price` is per unit, `subtotal` for the whole line, in the order's currency."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    product_id: ProductId
    name: str
    quantity: int
    price: Amount
    subtotal: Amount


class OrderEvent(Event):
    """Base of all order events: the complete state of the order after the change."""

    order_id: OrderId
    user_id: UserId
    status: OrderStatus
    total: Amount
    currency: str
    items: tuple[OrderedItem, ...]


class OrderCreated(OrderEvent, type="order.created", version=1, aggregate="order_id"):
    """An order was placed. Stock reservation and payment follow."""


class OrderUpdated(OrderEvent, type="order.updated", version=1, aggregate="order_id"):
    """An order was confirmed, shipped, delivered or returned, as `status` says."""


class OrderCancelled(OrderEvent, type="order.cancelled", version=1, aggregate="order_id"):
    """An order was cancelled before it was shipped."""


class OrderFailed(OrderEvent, type="order.failed", version=1, aggregate="order_id"):
    """An order failed. `failure_reason` is a code such as `payment_declined` or `insufficient_stock`."""

    failure_reason: str


class OrderTotal(Summary):
    """The total and status of an order."""

    order_id: OrderId
    user_id: UserId
    status: OrderStatus
    total: Decimal
    currency: str


class OrdersClient(Client, service="orders"):
    """Read order totals. For services only."""

    async def totals(
        self,
        *,
        status: Collection[OrderStatus] = (),
        order_id: Collection[OrderId] = (),
        after: OrderId | None = None,
        limit: int = 1000,
    ) -> list[OrderTotal]:
        """Return one page of order totals, oldest first.

        Args:
            status: only orders in these statuses; all if empty.
            order_id: only these orders, at most 100; all if empty.
            after: the last order of the previous page.
            limit: page size, at most 1000.
        """
        params = {"status": list(status), "order_id": list(order_id), "after": after, "limit": limit}
        return await self.get("/orders/totals", params=params, answer=list[OrderTotal])
