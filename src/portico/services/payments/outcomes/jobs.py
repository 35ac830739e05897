"""What nobody waits for any more is settled on a clock."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Final, TypeVar

from sqlalchemy import delete, select

from portico.kit.data import UnitOfWork
from portico.kit.jobs.runner import job
from portico.kit.runtime.context import ServiceRuntime
from portico.kit.telemetry.logs import get_logger
from portico.services.payments.outcomes.commands import settle
from portico.services.payments.payments.models import Payment
from portico.services.payments.refunds.commands import follow_up, settle_refund
from portico.services.payments.refunds.models import Refund
from portico.services.payments.webhooks.models import WebhookEvent

logger = get_logger(__name__)

T = TypeVar("T", Payment, Refund)

_AT_ONCE: Final = 200
_SIDE_BY_SIDE: Final = 8
_KEPT: Final = timedelta(days=30)
"""How long it is known that a webhook was handled; its signature is good for minutes."""


@job(name="settle-open-payments", every=timedelta(seconds=5))
async def settle_what_is_open(context: ServiceRuntime) -> None:
    """Ask the provider what became of the charges and refunds whose outcome is due to be known.

    Where a refund failed of a payment that was voided, another one is begun.
    """
    now = context.clock.now()
    async with context.reader() as reader:
        payments = await reader.all(
            select(Payment).where(Payment.settle_at <= now).order_by(Payment.settle_at).limit(_AT_ONCE)
        )
        refunds = await reader.all(
            select(Refund).where(Refund.settle_at <= now).order_by(Refund.settle_at).limit(_AT_ONCE)
        )
    await _each(context, payments, lambda payment: settle(context, payment))
    await _each(context, refunds, lambda refund: _settle(context, refund))


async def _settle(context: ServiceRuntime, refund: Refund) -> None:
    if refund.is_open:
        await settle_refund(context, refund)
    else:
        await follow_up(context, refund.payment_id)


async def _each(context: ServiceRuntime, rows: Sequence[T], act: Callable[[T], Awaitable[object]]) -> None:
    """Do it for each, some side by side; one that fails keeps none of the others from it, nor from the next look."""
    room = asyncio.Semaphore(_SIDE_BY_SIDE)

    async def guarded(row: T) -> None:
        async with room:
            try:
                await act(row)
            except Exception:
                logger.exception("could not be settled", of=type(row).__name__)
                with suppress(Exception):  # such as a database that is away: then it stays due
                    await context.transact(partial(_put_off, row=row))

    await asyncio.gather(*(guarded(row) for row in rows))


async def _put_off(work: UnitOfWork, *, row: Payment | Refund) -> None:
    """Ask of `row` later: two hundred that fail each time would otherwise be all that is ever looked at."""
    key = row.payment_id if isinstance(row, Payment) else row.refund_id
    found = await work.get(type(row), key, lock=True)
    if found is not None and found.settle_at == row.settle_at:
        found.await_outcome(work.now)


@job(name="delete-old-webhooks", every=timedelta(hours=1))
async def forget_old_webhooks(context: ServiceRuntime) -> None:
    """Delete the identities of webhooks that nobody can send again."""
    async with context.transaction() as work:
        oldest = work.now - _KEPT
        await work.execute(delete(WebhookEvent).where(WebhookEvent.received_at < oldest))
