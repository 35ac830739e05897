from collections.abc import Sequence
from typing import Annotated, Final

from fastapi import Header, Path, Query, Request, Response

from portico.contracts.bookings import BookingId
from portico.contracts.orders import OrderId
from portico.contracts.payments import PaymentId
from portico.kit import (
    ContentTooLarge,
    Context,
    FromService,
    InvalidCursor,
    KnownCaller,
    Money,
    Page,
    Principal,
    Reads,
    Router,
    Slice,
    permitted,
)
from portico.kit.foundation import NotFound, TooPrecise, UnknownCurrency
from portico.kit.http import add_batch_route
from portico.services.payments import service
from portico.services.payments.domain import PaymentRequest, RefundRequest
from portico.services.payments.errors import (
    ChargeInFlight,
    NotRefundable,
    OtherCurrency,
    PaymentKeyMissing,
    PaymentKeyReused,
    PaymentNotFound,
    ProviderUnknown,
    RefundExceedsCharge,
    RefundKeyReused,
    SignatureInvalid,
    SignatureOld,
    Voided,
    VoidUnfinished,
)
from portico.services.payments.ledger.domain import Position
from portico.services.payments.ledger.service import Reconciliation
from portico.services.payments.ledger.totals import BookingTotals, OrderTotals
from portico.services.payments.models import PROVIDER_LENGTH, Payment, Refund
from portico.services.payments.provider import SIGNATURE_HEADER, provider_of
from portico.services.payments.repository import READ_PERMISSION, Payments, Refunds
from portico.services.payments.schemas import (
    Key,
    PaymentCreate,
    PaymentRead,
    ReconciliationRead,
    RefundCreate,
    RefundKey,
    RefundRead,
    VoidRead,
    WebhookAnswer,
    WebhookQuery,
)

payments = Router(prefix="/payments", tags=["payments"], description="Charges of orders and bookings")
refunds = Router(prefix="/payments/{payment_id}/refunds", tags=["refunds"], description="Refunds of a payment")
voids = Router(prefix="/payments/voids", tags=["voids"], description="Withdrawn charges, for services")
webhooks = Router(
    prefix="/payments/webhooks", tags=["webhooks"], description="Messages of payment providers", supplementary=True
)
ledger = Router(prefix="/ledger", tags=["ledger"], description="The double-entry ledger and its reconciliation")

WEBHOOK_LIMIT: Final = 256 * 1024

_KEY_HEADER = Header(alias="Idempotency-Key", description="Used if the body has no `key`")
KeyHeader = Annotated[Key | None, _KEY_HEADER]
RefundKeyHeader = Annotated[RefundKey | None, _KEY_HEADER]
Refunder = Annotated[Principal, permitted("payments:write", or_service=True)]
AnyQuery = Annotated[WebhookQuery, Query()]
Signature = Annotated[str | None, Header(alias=SIGNATURE_HEADER, max_length=2_000, description="`t=…,v1=…`")]
PaymentsReader = Annotated[Principal, permitted(READ_PERMISSION)]
Limit = Annotated[int, Query(ge=1, le=1000, description="How many rows to check")]
Cursor = Annotated[str | None, Query(max_length=1024, description="`next_cursor` of the previous page")]
_WEBHOOK_BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}}


@payments.post(
    "",
    status_code=201,
    response_model=PaymentRead,
    errors=[Voided, PaymentKeyMissing, PaymentKeyReused, UnknownCurrency, TooPrecise],
    stores_response=False,  # the payment keeps its key forever, and a repeat returns its current state
)
async def charge(
    body: PaymentCreate,
    caller: FromService,
    context: Context,
    request: Request,
    response: Response,
    idempotency_key: KeyHeader = None,
) -> Payment:
    """Charge once per key.

    A repeat returns the payment's current state; if its outcome is unknown, the provider is asked first. A refused charge is
    no error: its status is `failed`.
    """
    key = body.key or idempotency_key
    if key is None:
        raise PaymentKeyMissing
    wanted = PaymentRequest(body.reference, body.user_id, Money.of(body.amount, body.currency), body.method)
    payment = await service.charge(context, key, wanted)
    response.headers["location"] = f"{request.url.path}/{payment.payment_id}"
    return payment


add_batch_route(payments, "/batch", of=charge)


@payments.get("", response_model=list[PaymentRead], errors=[InvalidCursor])
async def list_payments(
    caller: KnownCaller,
    page: Page,
    reads: Reads,
    order_id: OrderId | None = None,
    booking_id: BookingId | None = None,
) -> Slice[Payment]:
    """List the caller's payments, or all with `payments:read`; newest first."""
    of_order = None if order_id is None else Payment.order_id == order_id
    of_booking = None if booking_id is None else Payment.booking_id == booking_id
    return await Payments(reads).page_visible(page, caller, of_order, of_booking)


@payments.get("/bookings/{booking_id}", response_model=list[PaymentRead], errors=[NotFound])
async def list_payments_of_booking(booking_id: BookingId, caller: FromService, reads: Reads) -> Sequence[Payment]:
    """List the payments of a booking, newest first, at most a hundred, for services."""
    return await Payments(reads).of_booking(booking_id)


@payments.get("/{payment_id}", response_model=PaymentRead, errors=[PaymentNotFound])
async def read_payment(payment_id: PaymentId, caller: KnownCaller, reads: Reads) -> Payment:
    """Return one of the caller's payments, or any with `payments:read`."""
    return await Payments(reads).get_visible(payment_id, caller)


@voids.put("/{key:path}", errors=[ChargeInFlight, VoidUnfinished, NotFound])  # a key with a line break has no route
async def void(key: Key, caller: FromService, context: Context) -> VoidRead:
    """Cancel the charge of this key, whether it was made, is in progress or has not been requested yet.

    A later charge is rejected. If the outcome of the charge is unknown, the provider is asked. A charge that was made is refunded.
    """
    payment = (await service.void(context, key)).payment
    if payment is None:
        return VoidRead(key=key)
    return VoidRead.of(
        {"key": key, "payment_id": payment.payment_id, "refunded": payment.refunded, "currency": payment.currency}
    )


@refunds.post(
    "",
    status_code=201,
    response_model=RefundRead,
    errors=[PaymentNotFound, RefundExceedsCharge, NotRefundable, RefundKeyReused, OtherCurrency, TooPrecise],
    stores_response=False,  # the refund keeps its key forever, and a repeat returns its current state
)
async def refund_payment(
    payment_id: PaymentId,
    body: RefundCreate,
    caller: Refunder,
    context: Context,
    idempotency_key: RefundKeyHeader = None,
) -> Refund:
    """Refund a payment in part or in full. Refunds add up to at most the charge."""
    request = RefundRequest(
        requested_by=caller.subject,
        amount=body.amount,
        currency=body.currency,
        key=body.key or idempotency_key,
        reason=body.reason,
    )
    return await service.refund(context, payment_id, request)


@refunds.get("", response_model=list[RefundRead], errors=[PaymentNotFound, InvalidCursor])
async def list_refunds(payment_id: PaymentId, caller: KnownCaller, page: Page, reads: Reads) -> Slice[Refund]:
    """List the refunds of one of the caller's payments, or of any with `payments:read`; newest first."""
    await Payments(reads).get_visible(payment_id, caller)
    return await Refunds(reads).page(payment_id, page)


@webhooks.post(
    "/{provider}",
    errors=[ProviderUnknown, SignatureInvalid, SignatureOld, ContentTooLarge],
    stores_response=False,  # the event's id is its key
    body_limit=WEBHOOK_LIMIT,
    framework={"openapi_extra": _WEBHOOK_BODY},
)
async def receive_webhook(
    provider: Annotated[str, Path(max_length=PROVIDER_LENGTH)],
    request: Request,
    context: Context,
    query: AnyQuery,
    signature: Signature = None,
) -> WebhookAnswer:
    """Receive a signed webhook about a charge or a refund. Each event is handled once.

    A webhook with a valid signature that cannot be used is accepted and ignored, because providers repeat what is refused.
    """
    known = provider_of(context)
    if provider != known.name:
        raise ProviderUnknown(provider=provider)
    event = known.event(await request.body(), signature, now=context.clock.now())
    outcome = await service.receive_webhook(context, provider, event)
    return WebhookAnswer(event_id=None if event is None else event.event_id, outcome=outcome)


@ledger.get("/reconcile", errors=[InvalidCursor], timeout=60)
async def reconcile(
    caller: PaymentsReader, reads: Reads, context: Context, limit: Limit = 1000, cursor: Cursor = None
) -> ReconciliationRead:
    """Compare ledger, payments, provider, orders and bookings, and list the mismatches.

    Each page checks `limit` rows: the payments, then the provider's charges, the ledger's transactions, the orders and the
    bookings.
    Charges and refunds in progress are not mismatches.
    """
    sellers = context.resource(OrderTotals), context.resource(BookingTotals)
    reconciliation = Reconciliation(reads, provider_of(context), *sellers)
    start = None if cursor is None else Position.of(cursor)
    return ReconciliationRead.of_report(await reconciliation.run(start, limit=limit))
