import asyncio
from datetime import timedelta
from typing import Final

from sqlalchemy import select

from portico.kit import ServiceContext, job
from portico.services.catalog.stock.models import StockReservation
from portico.services.catalog.stock.writer import StockWriter

_BATCH: Final = 100
_ACTOR: Final = "expiry"


@job(name="expire-reservations", every=timedelta(seconds=10))
async def expire_reservations(context: ServiceContext) -> None:
    """Release the stock of reservations that were not confirmed in time."""
    writer = context.resource(StockWriter)
    due = (
        select(StockReservation.reservation_id)
        .where(StockReservation.status == "reserved", StockReservation.expires_at <= context.clock.now())
        .order_by(StockReservation.expires_at)
        .limit(_BATCH)
    )
    while True:
        async with context.reader() as reader:
            found = await reader.all(due)
        ended = await asyncio.gather(*(writer.expire(each, actor=_ACTOR) for each in found))
        if len(found) < _BATCH or not any(each.status == "expired" for each in ended):
            return
