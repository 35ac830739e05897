import asyncio
from datetime import timedelta
from functools import partial
from typing import Final

from portico.kit import ServiceContext, UnitOfWork, get_logger, job
from portico.kit.calls import CallFailed, Outgoing
from portico.kit.foundation import Backoff
from portico.services.payments.provider import SIGNATURE_HEADER, provider_of
from portico.services.payments.simulated_provider.models import SimulatedWebhook
from portico.services.payments.simulated_provider.provider import SimulatedProvider
from portico.services.payments.simulated_provider.repository import has_due_work, keys_to_settle, webhooks_to_send

logger = get_logger(__name__)

_BATCH: Final = 100
_CONCURRENCY: Final = 8
_TIMEOUT: Final = 10.0  # seconds per webhook
_BACKOFF: Final = Backoff(base=2.0, limit=3600.0, jitter=0.0)
_LIFETIME: Final = timedelta(days=3)
_FIRST_UNSUCCESSFUL_STATUS: Final = 300


@job(name="run-simulated-provider", every=timedelta(seconds=3))
async def run_simulated_provider(context: ServiceContext) -> None:
    """Settle the slow charges and send the webhooks that are due. Does nothing if another provider is used."""
    provider = provider_of(context)
    if not isinstance(provider, SimulatedProvider):
        return
    async with context.reader() as reader:
        if not await has_due_work(reader, context.clock.now()):
            return
        keys = await keys_to_settle(reader, context.clock.now(), _BATCH)
    for key in keys:
        await provider.settle(key)
    await _send_webhooks(context, provider)


async def _send_webhooks(context: ServiceContext, provider: SimulatedProvider) -> None:
    """Send the due webhooks to the service's own public endpoint; retry later those that it does not accept."""
    async with context.reader() as reader:
        webhooks = await webhooks_to_send(reader, context.clock.now(), _BATCH)
    slots = asyncio.Semaphore(_CONCURRENCY)

    async def send(webhook: SimulatedWebhook) -> None:
        async with slots:
            accepted = await _is_accepted(context, provider, webhook.body.encode())
            await context.transact(partial(_record_attempt, number=webhook.number, accepted=accepted))

    await asyncio.gather(*(send(webhook) for webhook in webhooks))


async def _is_accepted(context: ServiceContext, provider: SimulatedProvider, body: bytes) -> bool:
    request = Outgoing(
        service=context.name,
        method="POST",
        path=f"{context.system.prefix}/payments/webhooks/{provider.name}",
        headers=[
            (b"content-type", b"application/json"),
            (SIGNATURE_HEADER.encode(), provider.signature(body, now=context.clock.now()).encode()),
        ],
        body=body,
        timeout=_TIMEOUT,
    )
    try:
        return (await context.channel.send(request)).status < _FIRST_UNSUCCESSFUL_STATUS
    except CallFailed as failed:
        logger.warning("webhook_delivery_failed", service=context.name, error=type(failed).__name__)
        return False


async def _record_attempt(work: UnitOfWork, *, number: int, accepted: bool) -> None:
    webhook = await work.get(SimulatedWebhook, number, lock=True)
    if webhook is None:
        return
    if accepted or webhook.created_at < work.now - _LIFETIME:
        await work.delete(webhook)
        return
    webhook.attempts += 1
    webhook.send_at = work.now + timedelta(seconds=_BACKOFF.delay(webhook.attempts))
