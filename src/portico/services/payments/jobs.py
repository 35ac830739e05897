import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Final, TypeVar

from portico.kit import ServiceContext, UnitOfWork, get_logger, job
from portico.services.payments.models import Payment, Refund
from portico.services.payments.repository import Payments, Refunds, delete_webhook_events
from portico.services.payments.settlement import replace_failed_refund, settle_payment, settle_refund

logger = get_logger(__name__)

Row = TypeVar("Row", Payment, Refund)

_BATCH: Final = 200
_CONCURRENCY: Final = 8
_WEBHOOK_RETENTION: Final = timedelta(days=30)  # a webhook's signature is valid for minutes


@job(name="settle-open-payments", every=timedelta(seconds=5))
async def settle_open_payments(context: ServiceContext) -> None:
    """Settle the charges and refunds whose outcome is unknown, and replace the failed refunds of voided payments."""
    now = context.clock.now()
    async with context.reader() as reader:
        payments = await Payments(reader).due(now, limit=_BATCH)
        refunds = await Refunds(reader).due(now, limit=_BATCH)
    await _for_each(context, payments, lambda payment: settle_payment(context, payment))
    await _for_each(context, refunds, lambda refund: _settle_or_replace(context, refund))


async def _settle_or_replace(context: ServiceContext, refund: Refund) -> None:
    if refund.is_processing:
        await settle_refund(context, refund)
    else:
        await replace_failed_refund(context, refund.payment_id)


async def _for_each(context: ServiceContext, rows: Sequence[Row], settle: Callable[[Row], Awaitable[object]]) -> None:
    """Settle the rows, some of them concurrently. A row that fails is postponed and does not stop the others."""
    slots = asyncio.Semaphore(_CONCURRENCY)

    async def guarded(row: Row) -> None:
        async with slots:
            try:
                await settle(row)
            except Exception:
                logger.exception("settlement_failed", row=type(row).__name__)
                with suppress(Exception):  # if the database is down as well, the row stays due
                    await context.transact(partial(_postpone, row=row))

    await asyncio.gather(*(guarded(row) for row in rows))


async def _postpone(work: UnitOfWork, *, row: Payment | Refund) -> None:
    """Try `row` later; otherwise a batch of rows that always fail would keep all others from being settled."""
    key = row.payment_id if isinstance(row, Payment) else row.refund_id
    found = await work.get(type(row), key, lock=True)
    if found is not None and found.settle_at == row.settle_at:
        found.postpone_settlement(work.now)


@job(name="delete-old-webhooks", every=timedelta(hours=1))
async def delete_old_webhooks(context: ServiceContext) -> None:
    """Delete the ids of webhook events that are too old to be sent again."""
    async with context.transaction() as work:
        await delete_webhook_events(work, before=work.now - _WEBHOOK_RETENTION)
