from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Final

from portico.contracts.orders import OrderId, OrdersClient, OrderTotal
from portico.kit import ServiceContext

_MOST_BY_ID: Final = 100  # the orders service's limit on ids per request
_MOST: Final = 1000


class OrderTotals:
    """Reads the totals of orders from the orders service, authenticated as payments."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context

    async def after(self, order_id: OrderId | None, *, limit: int) -> Sequence[OrderTotal]:
        """Return order totals, oldest first, after this order. Raises CallFailed, Refused."""
        return await self._client.totals(after=order_id, limit=min(limit, _MOST))

    async def by_id(self, order_ids: Collection[OrderId]) -> dict[OrderId, OrderTotal]:
        """Return the totals of these orders, by id. Raises CallFailed, Refused."""
        wanted = list(dict.fromkeys(order_ids))
        found: dict[OrderId, OrderTotal] = {}
        for start in range(0, len(wanted), _MOST_BY_ID):
            some = await self._client.totals(order_id=wanted[start : start + _MOST_BY_ID], limit=_MOST_BY_ID)
            found.update((order.order_id, order) for order in some)
        return found

    @property
    def _client(self) -> OrdersClient:
        return self._context.calls()(OrdersClient)


@asynccontextmanager
async def open_order_totals(context: ServiceContext) -> AsyncIterator[OrderTotals]:
    """Open the service's access to order totals."""
    yield OrderTotals(context)
