"""Retention: how long published events and the ids of handled events are kept."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Column, Table, delete, select

from portico.kit.data.kit_tables import event_log, inbox
from portico.kit.messaging.batches import BATCH
from portico.kit.service_context import ServiceContext

MARGIN = timedelta(days=1)
"""How much longer ids of handled events are kept than events, so that a replayed event is always recognized."""


async def delete_old_events(context: ServiceContext) -> None:
    """Delete events from the log that were published longer ago than EVENT_RETENTION."""
    oldest = context.clock.now() - timedelta(seconds=context.settings.event_retention)
    await _delete_older(context, event_log, event_log.c.occurred_at, oldest)


async def delete_handled_events(context: ServiceContext) -> None:
    """Delete ids from the inbox whose events are in no log and no queue any more."""
    oldest = context.clock.now() - timedelta(seconds=context.settings.event_retention) - MARGIN
    await _delete_older(context, inbox, inbox.c.handled_at, oldest)


async def _delete_older(context: ServiceContext, table: Table, moment: Column[Any], oldest: datetime) -> None:
    """Delete rows in batches, one per transaction.

    The upper bound of each batch is read first, because MySQL cannot delete rows selected with a LIMIT.
    """
    end = select(moment).where(moment < oldest).order_by(moment).offset(BATCH - 1).limit(1)
    while True:
        async with context.reader() as reader:
            last = await reader.one(end)
        async with context.transaction() as work:
            await work.execute(delete(table).where(moment < oldest if last is None else moment <= last))
        if last is None:
            return
