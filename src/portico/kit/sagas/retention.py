"""Forgets sagas that ended long ago, and their timelines with them."""

from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import delete, select

from portico.kit.data.kit_tables import saga_steps, sagas

if TYPE_CHECKING:
    from portico.kit.runtime.context import ServiceRuntime

_AT_ONCE = 500  # sagas of one transaction: writers wait for it


async def delete_ended_sagas(context: "ServiceRuntime") -> None:
    """Delete the sagas that are past their time, some at once."""
    oldest = context.clock.now() - timedelta(seconds=context.settings.saga_retention)
    old = select(sagas.c.saga_id).where(sagas.c.ended_at < oldest).order_by(sagas.c.ended_at).limit(_AT_ONCE)
    while True:
        async with context.transaction() as work:
            gone = list(await work.all(old))
            await work.execute(delete(saga_steps).where(saga_steps.c.saga_id.in_(gone)))
            await work.execute(delete(sagas).where(sagas.c.saga_id.in_(gone)))
        if len(gone) < _AT_ONCE:
            return
