"""What orders and bookings cost, read from the services that sell them. A system may have one of them, or both."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from portico.contracts.bookings import BookingId, BookingsClient, BookingTotal
from portico.contracts.orders import OrderId, OrdersClient, OrderTotal
from portico.kit import ServiceContext

_MAX_BY_ID: Final = 100  # those services' limit on ids per request
_MAX_PAGE_SIZE: Final = 1000

K = TypeVar("K")
T = TypeVar("T")


class OrderTotals:
    """Reads the totals of orders from the orders service, authenticated as payments."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context

    @property
    def is_present(self) -> bool:
        """Whether the system has orders."""
        return OrdersClient.service in self._context.system.services

    async def after(self, order_id: OrderId | None, *, limit: int) -> Sequence[OrderTotal]:
        """Return order totals, oldest first, after this order. Raises CallFailed, Refused."""
        return await self._client.totals(after=order_id, limit=min(limit, _MAX_PAGE_SIZE))

    async def by_id(self, order_ids: Collection[OrderId]) -> dict[OrderId, OrderTotal]:
        """Return the totals of these orders, by id. Raises CallFailed, Refused."""
        found = await _in_parts(order_ids, lambda part: self._client.totals(order_id=part, limit=_MAX_BY_ID))
        return {order.order_id: order for order in found}

    @property
    def _client(self) -> OrdersClient:
        return self._context.calls()(OrdersClient)


class BookingTotals:
    """Reads the totals of bookings from the bookings service, authenticated as payments."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context

    @property
    def is_present(self) -> bool:
        """Whether the system has bookings."""
        return BookingsClient.service in self._context.system.services

    async def after(self, booking_id: BookingId | None, *, limit: int) -> Sequence[BookingTotal]:
        """Return totals of bookings, oldest first, after this booking. Raises CallFailed, Refused."""
        return await self._client.totals(after=booking_id, limit=min(limit, _MAX_PAGE_SIZE))

    async def by_id(self, booking_ids: Collection[BookingId]) -> dict[BookingId, BookingTotal]:
        """Return the totals of these bookings, by id. Raises CallFailed, Refused."""
        found = await _in_parts(booking_ids, lambda part: self._client.totals(booking_id=part, limit=_MAX_BY_ID))
        return {booking.booking_id: booking for booking in found}

    @property
    def _client(self) -> BookingsClient:
        return self._context.calls()(BookingsClient)


async def _in_parts(ids: Collection[K], read: Callable[[list[K]], Awaitable[Sequence[T]]]) -> list[T]:
    wanted = list(dict.fromkeys(ids))
    found: list[T] = []
    for start in range(0, len(wanted), _MAX_BY_ID):
        found.extend(await read(wanted[start : start + _MAX_BY_ID]))
    return found


@asynccontextmanager
async def open_order_totals(context: ServiceContext) -> AsyncIterator[OrderTotals]:
    """Open the service's access to order totals."""
    yield OrderTotals(context)


@asynccontextmanager
async def open_booking_totals(context: ServiceContext) -> AsyncIterator[BookingTotals]:
    """Open the service's access to totals of bookings."""
    yield BookingTotals(context)
