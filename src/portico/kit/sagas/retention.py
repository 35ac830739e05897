"""Delete ended sagas and their timelines after their retention."""

from datetime import timedelta

from sqlalchemy import delete, select

from portico.kit.data.kit_tables import saga_steps, sagas
from portico.kit.service_context import ServiceContext

_BATCH = 500  # sagas per transaction, because other writers wait for it


async def delete_ended_sagas(context: ServiceContext) -> None:
    """Delete the sagas that ended more than SAGA_RETENTION ago, in batches."""
    oldest = context.clock.now() - timedelta(seconds=context.settings.saga_retention)
    expired = select(sagas.c.saga_id).where(sagas.c.ended_at < oldest).order_by(sagas.c.ended_at).limit(_BATCH)
    while True:
        async with context.transaction() as work:
            saga_ids = list(await work.all(expired))
            await work.execute(delete(saga_steps).where(saga_steps.c.saga_id.in_(saga_ids)))
            await work.execute(delete(sagas).where(sagas.c.saga_id.in_(saga_ids)))
        if len(saga_ids) < _BATCH:
            return
