"""The one writer of reservations in this process."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Protocol

from portico.contracts.catalog import ProductId, ReservationId
from portico.kit import Problem, ServiceContext, UnitOfWork
from portico.kit.data import GroupCommit
from portico.services.catalog.settings import CatalogSettings
from portico.services.catalog.stock.commands import Change, change_reservations
from portico.services.catalog.stock.domain import Reservation, StockBatch


class StockWriter:
    """Changes reservations of many callers in few transactions. Each call is safe to repeat.

    All raise Problem as the method of Books that they name does, and Unavailable where too many wait.
    """

    def __init__(self, group: GroupCommit[Change, Reservation], *, lasting: timedelta) -> None:
        self._group = group
        self._lasting = lasting

    async def reserve(
        self, reservation_id: ReservationId, items: Mapping[ProductId, int], *, lasting: timedelta | None, actor: str
    ) -> Reservation:
        """Hold `items`; for the usual time with None. See Books.reserve."""
        act = partial(
            StockBatch.reserve,
            reservation_id=reservation_id,
            items=items,
            lasting=self._lasting if lasting is None else lasting,
            actor=actor,
        )
        return await self._group.submit(Change(reservation_id, act, items.keys()))

    async def confirm(self, reservation_id: ReservationId, *, actor: str) -> Reservation:
        """Hold the items for good. See Books.confirm."""
        return await self._submit(reservation_id, StockBatch.confirm, actor)

    async def release(self, reservation_id: ReservationId, *, actor: str) -> Reservation:
        """Hold the items no longer, nor ever. See Books.release."""
        return await self._submit(reservation_id, StockBatch.release, actor)

    async def expire(self, reservation_id: ReservationId, *, actor: str) -> Reservation:
        """Hold the items no longer where nobody confirmed them in time. See Books.expire."""
        return await self._submit(reservation_id, StockBatch.expire, actor)

    async def ship(self, reservation_id: ReservationId, *, actor: str) -> Reservation:
        """Take the items out of stock. See Books.ship."""
        return await self._submit(reservation_id, StockBatch.ship, actor)

    async def take_back(self, reservation_id: ReservationId, *, actor: str) -> Reservation:
        """Put shipped items back into stock. See Books.take_back."""
        return await self._submit(reservation_id, StockBatch.take_back, actor)

    async def _submit(self, reservation_id: ReservationId, method: "_Method", actor: str) -> Reservation:
        act = partial(method, reservation_id=reservation_id, actor=actor)
        return await self._group.submit(Change(reservation_id, act))


class _Method(Protocol):
    def __call__(self, books: StockBatch, /, reservation_id: ReservationId, *, actor: str) -> Reservation: ...


@asynccontextmanager
async def open_stock_writer(context: ServiceContext) -> AsyncIterator[StockWriter]:
    """The writer, until the service ends; what waits then is still written."""
    settings = context.settings_of(CatalogSettings)

    async def apply(work: UnitOfWork, changes: Sequence[Change]) -> Sequence[Reservation | Problem]:
        return await change_reservations(work, changes, low=settings.low_stock_threshold)

    group = GroupCommit[Change, Reservation](
        context.transaction, apply, largest=settings.stock_batch, waiting=settings.stock_queue
    )
    async with group:
        yield StockWriter(group, lasting=timedelta(seconds=settings.reservation_expires_in))
