from functools import partial
from typing import Any, Literal

from sqlalchemy import select

from portico.contracts.payments import PaymentId, RefundId
from portico.kit.data import UnitOfWork
from portico.kit.data.upsert import insert_if_absent
from portico.kit.runtime.context import ServiceRuntime
from portico.services.payments.outcomes.commands import record, settle_refunds
from portico.services.payments.payments.models import Payment
from portico.services.payments.provider.domain import ProviderEvent
from portico.services.payments.refunds.commands import record_refund
from portico.services.payments.refunds.models import Refund
from portico.services.payments.webhooks.models import WebhookEvent

EVENTS: Any = WebhookEvent.__table__

Handled = Literal["handled", "repeated", "ignored"]


async def receive(context: ServiceRuntime, provider: str, event: ProviderEvent) -> Handled:
    """Take over what a webhook says, once by its event's id; its effect and that id are one transaction."""
    handled = await context.transact(partial(_handle, provider=provider, event=event))
    if handled == "handled" and event.charge is not None:
        await settle_refunds(
            context, PaymentId(event.charge.key)
        )  # where it was voided before it was known to be charged
    return handled


async def _handle(work: UnitOfWork, *, provider: str, event: ProviderEvent) -> Handled:
    row = {"provider": provider, "event_id": event.event_id, "type": event.type, "received_at": work.now}
    if not await insert_if_absent(work, EVENTS, row):
        return "repeated"
    if event.charge is not None and await work.one(_id_of(Payment.payment_id, event.charge.key)) is not None:
        await record(work, payment_id=PaymentId(event.charge.key), outcome=event.charge)
        return "handled"
    if event.refund is not None and await work.one(_id_of(Refund.refund_id, event.refund.key)) is not None:
        await record_refund(work, refund_id=RefundId(event.refund.key), outcome=event.refund)
        return "handled"
    return "ignored"


def _id_of(column: Any, key: str) -> Any:
    """The id alone: the row is read once it is locked."""
    return select(column).where(column == key)
