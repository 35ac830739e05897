"""SQL of orders."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, bindparam, or_, select, true, update

from portico.contracts.orders import OrderId, OrderStatus
from portico.kit import Money, Principal, Repository, UnitOfWork, UserId
from portico.kit.data import Statement, newest_first, write_together
from portico.kit.foundation import PermissionMissing
from portico.services.orders.errors import OrderNotFound
from portico.services.orders.models import Order

_ORDERS: Any = Order.__table__
_O = _ORDERS.c

READ_ALL = "orders:read"
WRITE_ALL = "orders:write"


def visible_to(caller: Principal) -> ColumnElement[bool]:
    """Return the condition for orders that `caller` may see: all with `orders:read`, otherwise its own."""
    return true() if caller.may(READ_ALL) else Order.user_id == caller.subject


@dataclass(frozen=True, slots=True)
class OrderTotal:
    """Total (in major units) and status of an order."""

    order_id: OrderId
    user_id: UserId
    status: OrderStatus
    total: Decimal
    currency: str


class Orders(Repository[Order]):
    model, not_found, order = Order, OrderNotFound, newest_first(Order.order_id)

    def visible_to(self, caller: Principal) -> ColumnElement[bool]:
        """Return the condition for the orders that `caller` may see: all, or its own."""
        return visible_to(caller)

    async def get_changeable(self, order_id: OrderId, caller: Principal) -> Order:
        """Return an order that `caller` may change, locked: its own, or any order with `orders:write`.

        Raises OrderNotFound, and PermissionMissing for an order that the caller may only read.
        """
        if caller.may(WRITE_ALL):
            return await self.get(order_id, lock=True)
        order = await self.get_visible(order_id, caller, lock=True)
        if order.user_id != caller.subject:
            raise PermissionMissing(permission=WRITE_ALL)
        return order

    async def change_status(
        self, work: UnitOfWork, order_id: OrderId, status: OrderStatus, *, since: Iterable[OrderStatus]
    ) -> bool:
        """Change the status if it is one of `since` and no cancellation was requested. Return whether it changed.

        This is a single statement without reading the row first, because every order goes through it. Sagas of a cohort
        share it.
        """
        values = {"id": order_id, "to": status, "now": work.now}
        return await write_together(work, _status_change(frozenset(since)), values)

    async def totals(
        self, status: Collection[OrderStatus], order_ids: Collection[OrderId], after: OrderId | None, limit: int
    ) -> list[OrderTotal]:
        """Return totals and statuses of orders, oldest first."""
        statement = select(_O.order_id, _O.user_id, _O.status, _O.currency, _O.total_minor).order_by(_O.order_id)
        if status:
            statement = statement.where(_O.status.in_(status))
        if order_ids:
            statement = statement.where(_O.order_id.in_(order_ids))
        if after is not None:
            statement = statement.where(_O.order_id > after)
        return [
            OrderTotal(row.order_id, row.user_id, row.status, Money(row.total_minor, row.currency).amount, row.currency)
            for row in await self.source.rows(statement.limit(limit))
        ]

    async def live_status(self, order_id: OrderId) -> Any:
        """Return the columns that live followers of an order see, or None."""
        statement = select(_O.order_id, _O.status, _O.failure_reason, _O.updated_at, _O.revision)
        found = await self.source.rows(statement.where(_O.order_id == order_id).limit(1))
        return found[0] if found else None


@cache
def _status_change(since: frozenset[OrderStatus]) -> Statement:
    """Return the statement for a set of statuses. Each set has its own, because SQLAlchemy compiles a list each time."""
    return Statement(
        update(_ORDERS)
        .where(
            _O.order_id == bindparam("id"),
            or_(*(_O.status == each for each in sorted(since))),
            _O.cancel_requested_at.is_(None),
        )
        .values(status=bindparam("to"), updated_at=bindparam("now"), revision=_O.revision + 1)
    )
