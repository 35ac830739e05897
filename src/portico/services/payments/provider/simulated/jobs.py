"""The simulated provider's own life: slow charges get their outcome, and webhooks are sent until they are taken."""

import asyncio
from datetime import timedelta
from functools import partial
from typing import Final

from portico.kit.calls.channel import Outgoing
from portico.kit.calls.errors import CallFailed
from portico.kit.data import UnitOfWork
from portico.kit.foundation.backoff import Backoff
from portico.kit.jobs.runner import job
from portico.kit.runtime.context import ServiceRuntime
from portico.kit.telemetry.logs import get_logger
from portico.services.payments.provider.domain import PaymentProvider
from portico.services.payments.provider.simulated.models import SimulatedWebhook
from portico.services.payments.provider.simulated.repository import keys_to_settle, webhooks_to_send
from portico.services.payments.provider.simulated.resources import SimulatedProvider
from portico.services.payments.webhooks.domain import SIGNATURE_HEADER

logger = get_logger(__name__)

_AT_ONCE: Final = 100
_SIDE_BY_SIDE: Final = 8
_PATIENCE: Final = 10.0  # seconds for one webhook
_WEBHOOK_BACKOFF: Final = Backoff(base=2.0, limit=3600.0, jitter=0.0)
_GIVEN_UP: Final = timedelta(days=3)
_REFUSED: Final = 300


@job(name="run-simulated-provider", every=timedelta(seconds=2))
async def run_simulated_provider(context: ServiceRuntime) -> None:
    """Settle slow charges whose time has come, and send the webhooks that are due; nothing where another provider is."""
    provider = context.resource(PaymentProvider)  # type: ignore[type-abstract]  # the key of a resource, never made
    if not isinstance(provider, SimulatedProvider):
        return
    async with context.reader() as reader:
        keys = await keys_to_settle(reader, context.clock.now(), _AT_ONCE)
    for key in keys:
        await provider.settle(key)
    await send_webhooks(context, provider)


async def send_webhooks(context: ServiceRuntime, provider: SimulatedProvider) -> None:
    """Send what is due to the service's own public endpoint, some side by side. What is not taken is sent later."""
    async with context.reader() as reader:
        webhooks = await webhooks_to_send(reader, context.clock.now(), _AT_ONCE)
    room = asyncio.Semaphore(_SIDE_BY_SIDE)

    async def send(webhook: SimulatedWebhook) -> None:
        async with room:
            taken = await _taken(context, provider, webhook.body.encode())
            await context.transact(partial(_note, number=webhook.number, taken=taken))

    await asyncio.gather(*(send(webhook) for webhook in webhooks))


async def _taken(context: ServiceRuntime, provider: SimulatedProvider, body: bytes) -> bool:
    sent = Outgoing(
        service=context.name,
        method="POST",
        path=f"{context.system.prefix}/payments/webhooks/{provider.name}",
        headers=[
            (b"content-type", b"application/json"),
            (SIGNATURE_HEADER.encode(), provider.signature(body, now=context.clock.now()).encode()),
        ],
        body=body,
        timeout=_PATIENCE,
    )
    try:
        return (await context.channel.send(sent)).status < _REFUSED
    except CallFailed as failed:
        logger.warning("a webhook could not be delivered", service=context.name, error=type(failed).__name__)
        return False


async def _note(work: UnitOfWork, *, number: int, taken: bool) -> None:
    webhook = await work.get(SimulatedWebhook, number, lock=True)
    if webhook is None:
        return
    if taken or webhook.created_at < work.now - _GIVEN_UP:
        await work.delete(webhook)
        return
    webhook.attempts += 1
    webhook.send_at = work.now + timedelta(seconds=_WEBHOOK_BACKOFF.delay(webhook.attempts))
