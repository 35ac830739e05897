"""What other services may know of orders: what became of each, and the totals of many."""

from collections.abc import Collection
from decimal import Decimal
from typing import Literal

from pydantic import BaseModel, ConfigDict

from portico.contracts.catalog import ProductId
from portico.kit import Amount, Client, Event, Identifier, Summary, UserId

OrderStatus = Literal[
    "pending", "reserved", "paid", "confirmed", "shipped", "delivered", "returned", "cancelled", "failed"
]
"""From `confirmed` on an order stands; `cancelled` and `failed` are ends before anything was shipped."""

SOLD: tuple[OrderStatus, ...] = ("confirmed", "shipped", "delivered")
"""the states in which the money of an order is kept"""


class OrderId(Identifier, prefix="ord"):
    """An order."""


class OrderedItem(BaseModel):
    """One line of an order. `price` is that of one piece, `subtotal` that of all, in the order's currency."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    product_id: ProductId
    name: str
    quantity: int
    price: Amount
    subtotal: Amount


class OrderEvent(Event):
    """What every event about an order says: how it stands from now on."""

    order_id: OrderId
    user_id: UserId
    status: OrderStatus
    total: Amount
    currency: str
    items: tuple[OrderedItem, ...]


class OrderCreated(OrderEvent, type="order.created", version=1, aggregate="order_id"):
    """An order was placed: its stock and its money are asked for next."""


class OrderUpdated(OrderEvent, type="order.updated", version=1, aggregate="order_id"):
    """An order is confirmed, shipped, delivered or returned; `status` says which."""


class OrderCancelled(OrderEvent, type="order.cancelled", version=1, aggregate="order_id"):
    """An order was called off before it was shipped."""


class OrderFailed(OrderEvent, type="order.failed", version=1, aggregate="order_id"):
    """An order could not be had. `failure_reason` is a word such as `payment_declined` or `insufficient_stock`."""

    failure_reason: str


class OrderTotal(Summary):
    """What an order costs, and how it stands."""

    order_id: OrderId
    user_id: UserId
    status: OrderStatus
    total: Decimal
    currency: str


class OrdersClient(Client, service="orders"):
    """Asks orders, as a service."""

    async def totals(
        self,
        *,
        status: Collection[OrderStatus] = (),
        order_id: Collection[OrderId] = (),
        after: OrderId | None = None,
        limit: int = 1000,
    ) -> list[OrderTotal]:
        """Orders by age, the oldest first: those after `after`, at most `limit` (1000).

        Args:
            status: only orders that stand so; all by default.
            order_id: only these, at most 100.
            after: where the page before ended.
            limit: how many.
        """
        params = {"status": list(status), "order_id": list(order_id), "after": after, "limit": limit}
        return await self.get("/orders/totals", params=params, answer=list[OrderTotal])
