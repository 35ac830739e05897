from typing import Annotated

from fastapi import Header, Request, Response

from portico.contracts.orders import OrderId
from portico.contracts.payments import PaymentId
from portico.kit.auth import FromService, KnownCaller
from portico.kit.data import InvalidCursor
from portico.kit.foundation.money import Money, TooPrecise, UnknownCurrency
from portico.kit.http import Conditions, Page, Reads, Router
from portico.kit.runtime.context import Context
from portico.services.payments.payments import commands
from portico.services.payments.payments.domain import Charge
from portico.services.payments.payments.errors import PaymentKeyMissing, PaymentKeyReused, PaymentNotFound, Voided
from portico.services.payments.payments.repository import Payments
from portico.services.payments.payments.schemas import Key, PaymentCreate, PaymentRead

router = Router(prefix="/payments", tags=["payments"])

KeyHeader = Annotated[
    Key | None, Header(alias="Idempotency-Key", description="Stands for `key` where the body has none")
]


@router.post(
    "",
    status_code=201,
    errors=[Voided, PaymentKeyMissing, PaymentKeyReused, UnknownCurrency, TooPrecise],
    stores_answer=False,  # the key is the payment's own, for ever, and what it answers changes
)
async def charge(
    draft: PaymentCreate,
    caller: FromService,
    context: Context,
    request: Request,
    response: Response,
    idempotency_key: KeyHeader = None,
) -> PaymentRead:
    """Charge, once by its key.

    A repeat answers how it stands by then, having asked the provider where that was open. A charge that was refused is
    no error here: its status is `failed`.
    """
    key = draft.key or idempotency_key
    if key is None:
        raise PaymentKeyMissing
    amount = Money.of(draft.amount, draft.currency)
    payment = await commands.charge(context, key, Charge(draft.order_id, draft.user_id, amount, draft.method))
    response.headers["location"] = f"{request.url.path}/{payment.payment_id}"
    return PaymentRead.of(payment)


@router.get("", errors=[InvalidCursor])
async def list_payments(
    caller: KnownCaller, page: Page, reads: Reads, order_id: OrderId | None = None
) -> list[PaymentRead]:
    """List the caller's payments, or all with `payments:read`; the newest first."""
    found = await Payments(reads).page(page.window, visible_to=caller, order_id=order_id)
    return page.of(PaymentRead, found)


@router.get("/{payment_id}", errors=[PaymentNotFound])
async def read_payment(payment_id: PaymentId, caller: KnownCaller, reads: Reads, seen: Conditions) -> PaymentRead:
    """One of the caller's payments, or any with `payments:read`."""
    payment = await Payments(reads).seen(payment_id, visible_to=caller)
    seen.tag(payment)
    return PaymentRead.of(payment)
