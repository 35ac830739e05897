from typing import Annotated

from fastapi import Header

from portico.contracts.payments import PaymentId
from portico.kit.auth import KnownCaller, Principal, permitted
from portico.kit.data import InvalidCursor
from portico.kit.foundation.money import TooPrecise
from portico.kit.http import Page, Reads, Router
from portico.kit.runtime.context import Context
from portico.services.payments.payments.errors import PaymentNotFound
from portico.services.payments.payments.repository import Payments
from portico.services.payments.refunds import commands
from portico.services.payments.refunds.commands import RefundOrder
from portico.services.payments.refunds.errors import NotRefundable, OtherCurrency, RefundExceedsCharge, RefundKeyReused
from portico.services.payments.refunds.repository import Refunds
from portico.services.payments.refunds.schemas import RefundCreate, RefundKey, RefundRead

router = Router(prefix="/payments/{payment_id}/refunds", tags=["refunds"])

MayRefund = Annotated[Principal, permitted("payments:write", or_service=True)]
KeyHeader = Annotated[
    RefundKey | None, Header(alias="Idempotency-Key", description="Stands for `key` where the body has none")
]


@router.post(
    "",
    status_code=201,
    errors=[PaymentNotFound, RefundExceedsCharge, NotRefundable, RefundKeyReused, OtherCurrency, TooPrecise],
    stores_answer=False,  # the key is the refund's own, for ever, and what it answers changes
)
async def refund_payment(
    payment_id: PaymentId, draft: RefundCreate, caller: MayRefund, context: Context, idempotency_key: KeyHeader = None
) -> RefundRead:
    """Give back some of a payment, or all that is left. Refunds add up to at most the charge."""
    order = RefundOrder(
        by=caller.subject,
        amount=draft.amount,
        currency=draft.currency,
        key=draft.key or idempotency_key,
        reason=draft.reason,
    )
    return RefundRead.of(await commands.refund_payment(context, payment_id, order))


@router.get("", errors=[PaymentNotFound, InvalidCursor])
async def list_refunds(payment_id: PaymentId, caller: KnownCaller, page: Page, reads: Reads) -> list[RefundRead]:
    """List what was given back of one of the caller's payments, or of any with `payments:read`; the newest first."""
    await Payments(reads).seen(payment_id, visible_to=caller)
    return page.of(RefundRead, await Refunds(reads).page(payment_id, page.window))
