from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, select, true

from portico.contracts.orders import OrderId, OrderStatus
from portico.kit.auth.principal import Principal
from portico.kit.data import Keyset, Repository, Slice, Window
from portico.services.orders.errors import OrderNotFound
from portico.services.orders.models import Order

READ_ALL = "orders:read"
NEWEST = Keyset.by("newest", Order.order_id, descending=True)


def visible_to(caller: Principal) -> ColumnElement[bool]:
    """The orders that `caller` may see: all, or its own."""
    return true() if caller.may(READ_ALL) else Order.user_id == caller.subject


class Orders(Repository[Order]):
    table = Order
    missing = OrderNotFound

    async def get_visible(self, order_id: OrderId, caller: Principal, *, lock: bool = False) -> Order:
        """The order, where `caller` may see it. Raises OrderNotFound, also for another's."""
        statement = select(Order).where(Order.order_id == order_id, visible_to(caller))
        order = await self.source.one(statement.with_for_update() if lock else statement)
        if order is None:
            raise OrderNotFound(order_id=order_id)
        return order

    async def page(self, caller: Principal, status: OrderStatus | None, window: Window) -> Slice[Order]:
        """The orders that `caller` may see, the newest first. Raises InvalidCursor."""
        statement = select(Order).where(visible_to(caller))
        if status is not None:
            statement = statement.where(Order.status == status)
        return await NEWEST.page(self.source, statement, window)

    async def totals(
        self, status: Collection[OrderStatus], order_ids: Collection[OrderId], after: OrderId | None, limit: int
    ) -> Sequence[Any]:
        """What orders cost and how they stand, the oldest first, as rows of columns."""
        orders: Any = Order.__table__
        statement = select(
            orders.c.order_id, orders.c.user_id, orders.c.status, orders.c.currency, orders.c.total_minor
        ).order_by(orders.c.order_id)
        if status:
            statement = statement.where(orders.c.status.in_(status))
        if order_ids:
            statement = statement.where(orders.c.order_id.in_(order_ids))
        if after is not None:
            statement = statement.where(orders.c.order_id > after)
        return await self.source.rows(statement.limit(limit))
