from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Final

from portico.contracts.orders import OrderId, OrdersClient, OrderTotal
from portico.kit.running import Running

_MOST_BY_ID: Final = 100  # what orders takes in one question
_MOST: Final = 1000


class OrderBook:
    """The orders, as orders knows them; payments asks for itself."""

    def __init__(self, running: Running) -> None:
        self._running = running

    async def after(self, order_id: OrderId | None, *, limit: int) -> Sequence[OrderTotal]:
        """Orders by age, after this one. Raises CallFailed, Refused."""
        return await self._client.totals(after=order_id, limit=min(limit, _MOST))

    async def called(self, order_ids: Collection[OrderId]) -> dict[OrderId, OrderTotal]:
        """Those of these orders that there are, by id. Raises CallFailed, Refused."""
        wanted = list(dict.fromkeys(order_ids))
        found: dict[OrderId, OrderTotal] = {}
        for start in range(0, len(wanted), _MOST_BY_ID):
            some = await self._client.totals(order_id=wanted[start : start + _MOST_BY_ID], limit=_MOST_BY_ID)
            found.update((order.order_id, order) for order in some)
        return found

    @property
    def _client(self) -> OrdersClient:
        return self._running.calls_for_itself()(OrdersClient)


@asynccontextmanager
async def open_orders(running: Running) -> AsyncIterator[OrderBook]:
    """How payments asks for the totals of orders."""
    yield OrderBook(running)
