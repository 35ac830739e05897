from functools import partial
from typing import Annotated

from fastapi import Query, Request, Response

from portico.contracts.orders import OrderId, OrderStatus
from portico.contracts.payments import PaymentsClient, PaymentSummary
from portico.kit import (
    Context,
    FromService,
    InvalidCursor,
    Page,
    Principal,
    Reads,
    Router,
    SignedIn,
    Slice,
    Socket,
    Work,
    inject,
    permitted,
)
from portico.kit.foundation import PermissionMissing, UnknownCurrency
from portico.kit.http import MAX_LIMIT, TimelineEventRead
from portico.kit.sagas import (
    SagaEnded,
    SagaNotFound,
    SagaOfAnotherVersion,
    StepUnderWay,
    TimelineEvent,
    subject_timeline,
)
from portico.kit.settings import database_for
from portico.services.orders import service
from portico.services.orders.domain import is_final, price_items
from portico.services.orders.errors import (
    IllegalTransition,
    MixedCurrencies,
    OrderNotFound,
    OrderTooLarge,
    PaymentMethodMissing,
    PriceChanged,
    ProductsUnknown,
)
from portico.services.orders.models import Order
from portico.services.orders.products import ProductLookup
from portico.services.orders.repository import WRITE_ALL, Orders, OrderTotal
from portico.services.orders.schemas import (
    MAX_ITEMS,
    LiveStatusRead,
    OrderCreate,
    OrderPaymentRead,
    OrderRead,
    OrderTotalRead,
    SkipCreate,
)
from portico.services.orders.settings import OrdersSettings

router = Router(prefix="/orders", tags=["orders"], description="Orders, their progress, and what can be done with them")

DEFAULT_METHOD = "pm_ok"  # of the simulated provider
OrdersWriter = Annotated[Principal, permitted(WRITE_ALL)]
PRICING_ERRORS = (ProductsUnknown, PriceChanged, MixedCurrencies, OrderTooLarge, UnknownCurrency)
STATUS_ERRORS = (OrderNotFound, IllegalTransition)


@router.post(
    "",
    status_code=201,
    response_model=OrderRead,
    calls_services=True,
    grouped=True,
    errors=[*PRICING_ERRORS, PaymentMethodMissing],
)
async def place_order(
    draft: OrderCreate,
    caller: SignedIn,
    products: Annotated[ProductLookup, inject(ProductLookup)],
    work: Work,
    context: Context,
    request: Request,
    response: Response,
) -> Order:
    """Order products at the catalog's prices.

    The order starts as `pending`. Stock and payment are processed in the background; `status` shows the progress.
    """
    user_id = draft.user_id or caller.user_id
    if user_id != caller.user_id and not caller.may(WRITE_ALL):
        raise PermissionMissing(permission=WRITE_ALL)
    method = draft.payment_method or _default_method(context)
    requested = draft.requested
    found = await products.find(each.product_id for each in requested)
    order = await service.place_order(
        work,
        price_items(requested, found),
        user_id=user_id,
        shipping_address=draft.shipping_address.model_dump(),
        billing_address=draft.billing_address.model_dump(),
        payment_method=method,
    )
    response.headers["location"] = f"{request.url.path}/{order.order_id}"
    return order


@router.get("", response_model=list[OrderRead], errors=[InvalidCursor])
async def list_orders(
    page: Page, caller: SignedIn, reads: Reads, status: Annotated[OrderStatus | None, Query()] = None
) -> Slice[Order]:
    """List the caller's orders, or all orders with `orders:read`, newest first."""
    of_status = None if status is None else Order.status == status
    return await Orders(reads).page_visible(page, caller, of_status)


@router.get("/totals", response_model=list[OrderTotalRead])
async def list_totals(
    _caller: FromService,
    reads: Reads,
    status: Annotated[list[OrderStatus] | None, Query(max_length=9)] = None,
    order_id: Annotated[list[OrderId] | None, Query(max_length=MAX_ITEMS, description="Only these")] = None,
    after: Annotated[OrderId | None, Query(description="The last order of the previous page")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = MAX_LIMIT,
) -> list[OrderTotal]:
    """List totals and statuses of orders, oldest first, for services."""
    return await Orders(reads).totals(status or (), order_id or (), after, limit)


@router.get("/{order_id}", response_model=OrderRead, errors=[OrderNotFound])
async def read_order(order_id: OrderId, caller: SignedIn, reads: Reads) -> Order:
    """Return one of the caller's orders, or any order with `orders:read`."""
    return await Orders(reads).get_visible(order_id, caller)


@router.get("/{order_id}/timeline", response_model=list[TimelineEventRead], errors=[OrderNotFound])
async def read_timeline(order_id: OrderId, caller: SignedIn, reads: Reads) -> list[TimelineEvent]:
    """Return every saga step, event and operator request of the order, with times, outcomes and errors."""
    await Orders(reads).get_visible(order_id, caller)
    return await subject_timeline(reads, order_id)


@router.get("/{order_id}/payments", response_model=list[OrderPaymentRead], errors=[OrderNotFound])
async def list_order_payments(
    order_id: OrderId, caller: SignedIn, reads: Reads, context: Context
) -> list[PaymentSummary]:
    """List the payments of the order with what was charged and refunded, newest first."""
    await Orders(reads).get_visible(order_id, caller)
    return await context.calls()(PaymentsClient).of_order(order_id)


@router.post(
    "/{order_id}/cancel",
    response_model=OrderRead,
    errors=[*STATUS_ERRORS, SagaOfAnotherVersion],
    framework={"responses": {202: {"model": OrderRead}}},
)
async def cancel_order(order_id: OrderId, caller: SignedIn, work: Work, response: Response) -> Order:
    """Cancel an order that was not shipped: the caller's own, or any order with `orders:write`.

    202 means that it is still being placed. The running step ends first, then stock and payment are compensated.
    """
    order = await service.cancel_order(work, order_id, caller)
    if not order.is_settled:
        response.status_code = 202
    return order


@router.post("/{order_id}/ship", response_model=OrderRead, errors=STATUS_ERRORS)
async def ship_order(order_id: OrderId, caller: OrdersWriter, work: Work) -> Order:
    """Mark the order as shipped and take its items out of stock."""
    return await service.ship_order(work, order_id)


@router.post("/{order_id}/deliver", response_model=OrderRead, errors=STATUS_ERRORS)
async def deliver_order(order_id: OrderId, caller: OrdersWriter, work: Work) -> Order:
    """Mark the order as delivered."""
    return await service.deliver_order(work, order_id)


@router.post("/{order_id}/return", response_model=OrderRead, errors=STATUS_ERRORS)
async def return_order(order_id: OrderId, caller: OrdersWriter, work: Work) -> Order:
    """Mark the order as returned, refund its payment and put its items back into stock."""
    return await service.return_order(work, order_id)


@router.post("/{order_id}/saga/retry", status_code=202, errors=[OrderNotFound, SagaNotFound, SagaEnded, StepUnderWay])
async def retry_saga(order_id: OrderId, caller: OrdersWriter, work: Work) -> None:
    """Retry the order's saga now. The timeline records who asked."""
    await service.retry_saga(work, order_id, by=caller)


@router.post("/{order_id}/saga/skip", status_code=202, errors=[OrderNotFound, SagaNotFound, SagaEnded, StepUnderWay])
async def skip_step(order_id: OrderId, asked: SkipCreate, caller: OrdersWriter, work: Work) -> None:
    """Skip the step that the order's saga waits for. The timeline records who asked and why."""
    await service.skip_step(work, order_id, by=caller, reason=asked.reason)


@router.websocket("/{order_id}/live", errors=[OrderNotFound])
async def follow_order(order_id: OrderId, caller: SignedIn, reads: Reads, socket: Socket, context: Context) -> None:
    """Send the order's status and each change of it, until the status is final."""
    orders = Orders(reads)
    await orders.get_visible(order_id, caller)
    await socket.accept()
    with context.change_notifier.follow(order_id) as changed:
        await socket.send_changes(
            partial(orders.live_status, order_id),
            LiveStatusRead.of,
            changed=changed,
            poll=context.settings_of(OrdersSettings).live_poll,
            is_final=lambda row: is_final(row.status),
        )


def _default_method(context: Context) -> str:
    """Return the simulated provider's default method on an embedded database. Raises PaymentMethodMissing."""
    if not database_for(context.settings, context.name).embedded:
        raise PaymentMethodMissing
    return DEFAULT_METHOD
