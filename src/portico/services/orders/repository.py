from collections.abc import Collection, Iterable, Sequence
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, bindparam, insert, or_, select, true, update

from portico.contracts.orders import OrderId, OrderStatus
from portico.kit import Keyset, Principal, Repository, Slice, UnitOfWork, Window
from portico.kit.data import Statement
from portico.kit.foundation import PermissionMissing
from portico.services.orders.errors import OrderNotFound
from portico.services.orders.models import Order

_ORDERS: Any = Order.__table__
_O = _ORDERS.c
_INSERT = Statement(insert(_ORDERS))

READ_ALL = "orders:read"
WRITE_ALL = "orders:write"
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

    async def get_changeable(self, order_id: OrderId, caller: Principal) -> Order:
        """The order, locked, where it is the caller's own or `caller` may change any.

        Raises OrderNotFound; PermissionMissing for one that `caller` may only see.
        """
        if caller.may(WRITE_ALL):
            return await self.get(order_id, lock=True)
        order = await self.get_visible(order_id, caller, lock=True)
        if order.user_id != caller.subject:
            raise PermissionMissing(permission=WRITE_ALL)
        return order

    async def page(self, caller: Principal, status: OrderStatus | None, window: Window) -> Slice[Order]:
        """The orders that `caller` may see, the newest first. Raises InvalidCursor."""
        statement = select(Order).where(visible_to(caller))
        if status is not None:
            statement = statement.where(Order.status == status)
        return await NEWEST.page(self.source, statement, window)

    async def insert(self, work: UnitOfWork, order: Order) -> None:
        """Write a new order by one statement, past the session: nothing else in the transaction asks for it."""
        order.revision = 1
        values = {column.key: getattr(order, column.key) for column in _ORDERS.columns}
        await work.write(_INSERT, values)

    async def move_on(
        self, work: UnitOfWork, order_id: OrderId, status: OrderStatus, *, since: Iterable[OrderStatus]
    ) -> bool:
        """Have an order that is one of `since`, and that nobody has called off, be `status`; whether it was so.

        One statement, which decides by itself: this is what every order goes through.
        """
        return bool(await work.write(_moving(frozenset(since)), {"id": order_id, "to": status, "now": work.now}))

    async def totals(
        self, status: Collection[OrderStatus], order_ids: Collection[OrderId], after: OrderId | None, limit: int
    ) -> Sequence[Any]:
        """What orders cost and how they stand, the oldest first, as rows of columns."""
        statement = select(_O.order_id, _O.user_id, _O.status, _O.currency, _O.total_minor).order_by(_O.order_id)
        if status:
            statement = statement.where(_O.status.in_(status))
        if order_ids:
            statement = statement.where(_O.order_id.in_(order_ids))
        if after is not None:
            statement = statement.where(_O.order_id > after)
        return await self.source.rows(statement.limit(limit))


@cache
def _moving(since: frozenset[OrderStatus]) -> Statement:
    """Has an order that is one of `since` be another; one for each such set, since a list would be compiled each time."""
    return Statement(
        update(_ORDERS)
        .where(
            _O.order_id == bindparam("id"),
            or_(*(_O.status == each for each in sorted(since))),
            _O.cancel_requested_at.is_(None),
        )
        .values(status=bindparam("to"), updated_at=bindparam("now"), revision=_O.revision + 1)
    )
