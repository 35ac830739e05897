"""Jobs that the kit runs in every service: retention of the kit's tables."""

from datetime import timedelta

from sqlalchemy import delete

from portico.kit.data.kit_tables import idempotency_keys
from portico.kit.jobs.runner import Job
from portico.kit.messaging.retention import delete_handled_events, delete_old_events
from portico.kit.sagas.retention import delete_ended_sagas
from portico.kit.service_context import ServiceContext

_INTERVAL = timedelta(minutes=10)


async def delete_old_idempotency_keys(context: ServiceContext) -> None:
    """Delete idempotency keys, with their stored responses, that are older than IDEMPOTENCY_TTL."""
    oldest = context.clock.now() - timedelta(seconds=context.settings.idempotency_ttl)
    async with context.transaction() as work:
        await work.execute(delete(idempotency_keys).where(idempotency_keys.c.claimed_at < oldest))


KIT_JOBS = (
    Job("delete-old-idempotency-keys", delete_old_idempotency_keys, _INTERVAL),
    Job("delete-old-events", delete_old_events, _INTERVAL),
    Job("delete-handled-events", delete_handled_events, _INTERVAL),
    Job("delete-ended-sagas", delete_ended_sagas, _INTERVAL),
)
