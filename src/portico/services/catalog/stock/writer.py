"""The process's single writer of reservations, which commits them in groups."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Protocol

from portico.contracts.catalog import ProductId, ReservationId
from portico.kit import Problem, ServiceContext, UnitOfWork
from portico.kit.data import GroupCommit
from portico.services.catalog.settings import CatalogSettings
from portico.services.catalog.stock.domain import Reservation, StockBatch
from portico.services.catalog.stock.service import Change, change_reservations


class StockWriter:
    """Changes reservations of many callers in few transactions. Each call can be repeated safely.

    Each method raises what the StockBatch method of the same name raises, and Unavailable when the queue is full.
    """

    def __init__(self, group: GroupCommit[Change, Reservation], *, lasting: timedelta) -> None:
        self._group = group
        self._lasting = lasting

    async def reserve(
        self, reservation_id: ReservationId, items: Mapping[ProductId, int], *, lasting: timedelta | None, actor: str
    ) -> Reservation:
        """Reserve `items`; for the default time if `lasting` is None."""
        act = partial(
            StockBatch.reserve,
            reservation_id=reservation_id,
            items=items,
            lasting=self._lasting if lasting is None else lasting,
            actor=actor,
        )
        return await self._group.submit(Change(reservation_id, act, items.keys()))

    async def confirm(self, reservation_id: ReservationId, *, actor: str) -> Reservation:
        """Confirm a reservation."""
        return await self._submit(reservation_id, StockBatch.confirm, actor)

    async def release(self, reservation_id: ReservationId, *, actor: str) -> Reservation:
        """Release a reservation permanently."""
        return await self._submit(reservation_id, StockBatch.release, actor)

    async def expire(self, reservation_id: ReservationId, *, actor: str) -> Reservation:
        """Expire a reservation that was not confirmed in time."""
        return await self._submit(reservation_id, StockBatch.expire, actor)

    async def ship(self, reservation_id: ReservationId, *, actor: str) -> Reservation:
        """Ship a reservation."""
        return await self._submit(reservation_id, StockBatch.ship, actor)

    async def return_items(self, reservation_id: ReservationId, *, actor: str) -> Reservation:
        """Return a shipped reservation."""
        return await self._submit(reservation_id, StockBatch.return_items, actor)

    async def _submit(self, reservation_id: ReservationId, method: "_Method", actor: str) -> Reservation:
        act = partial(method, reservation_id=reservation_id, actor=actor)
        return await self._group.submit(Change(reservation_id, act))


class _Method(Protocol):
    def __call__(self, batch: StockBatch, /, reservation_id: ReservationId, *, actor: str) -> Reservation: ...


@asynccontextmanager
async def open_stock_writer(context: ServiceContext) -> AsyncIterator[StockWriter]:
    """Open the writer. Changes that wait when the service stops are still written."""
    settings = context.settings_of(CatalogSettings)

    async def apply(work: UnitOfWork, changes: Sequence[Change]) -> Sequence[Reservation | Problem]:
        return await change_reservations(work, changes, low=settings.low_stock_threshold)

    group = GroupCommit[Change, Reservation](
        context.transaction, apply, max_batch=settings.stock_batch, max_waiting=settings.stock_queue
    )
    async with group:
        yield StockWriter(group, lasting=timedelta(seconds=settings.reservation_expires_in))
