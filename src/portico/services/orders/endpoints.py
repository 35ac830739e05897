import asyncio
from contextlib import suppress
from typing import Annotated

from fastapi import Query, Request, Response

from portico.contracts.catalog import CatalogClient
from portico.contracts.orders import OrderId, OrderStatus
from portico.contracts.payments import PaymentsClient
from portico.kit import (
    Conditions,
    Context,
    FromService,
    InvalidCursor,
    OnBehalf,
    Page,
    Principal,
    Reads,
    Router,
    SignedIn,
    Socket,
    Work,
    permitted,
)
from portico.kit.foundation import PermissionMissing, UnknownCurrency
from portico.kit.http import LARGEST_LIMIT
from portico.kit.sagas import SagaEnded, SagaNotFound, SagaOfAnotherVersion, StepUnderWay
from portico.kit.settings import database_for
from portico.services.orders import commands, queries
from portico.services.orders.domain import is_final, priced
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
from portico.services.orders.repository import WRITE_ALL, Orders
from portico.services.orders.schemas import (
    MOST_ITEMS,
    OrderCreate,
    OrderPaymentRead,
    OrderRead,
    OrderTotalRead,
    SkipCreate,
    StandingRead,
    TimelineEventRead,
)
from portico.services.orders.settings import OrdersSettings

router = Router(prefix="/orders", tags=["orders"])

EMBEDDED_METHOD = "pm_ok"  # of the simulated provider
MayWrite = Annotated[Principal, permitted(WRITE_ALL)]
UNPRICED = (ProductsUnknown, PriceChanged, MixedCurrencies, OrderTooLarge, UnknownCurrency)
MOVED = (OrderNotFound, IllegalTransition)


@router.post("", status_code=201, asks_others=True, errors=[*UNPRICED, PaymentMethodMissing])
async def place_order(
    draft: OrderCreate,
    caller: SignedIn,
    calls: OnBehalf,
    work: Work,
    context: Context,
    seen: Conditions,
    request: Request,
    response: Response,
) -> OrderRead:
    """Order products at the catalogue's prices.

    The order is `pending`: its stock and its money are seen to next, and `status` says how far that is.
    """
    user_id = draft.user_id or caller.user_id
    if user_id != caller.user_id and not caller.may(WRITE_ALL):
        raise PermissionMissing(permission=WRITE_ALL)
    method = draft.payment_method or _usual_method(context)
    wanted = draft.wanted
    products = await calls(CatalogClient).products(each.product_id for each in wanted)
    order = await commands.place(
        work,
        priced(wanted, products),
        user_id=user_id,
        shipping_address=draft.shipping_address.model_dump(),
        billing_address=draft.billing_address.model_dump(),
        payment_method=method,
    )
    seen.tag(order)
    response.headers["location"] = f"{request.url.path}/{order.order_id}"
    return OrderRead.of(order)


@router.get("", errors=[InvalidCursor])
async def list_orders(
    page: Page, caller: SignedIn, reads: Reads, status: Annotated[OrderStatus | None, Query()] = None
) -> list[OrderRead]:
    """The caller's orders, or all with `orders:read`; the newest first."""
    return page.of(OrderRead, await Orders(reads).page(caller, status, page.window))


@router.get("/totals")
async def list_totals(
    _caller: FromService,
    reads: Reads,
    status: Annotated[list[OrderStatus] | None, Query(max_length=9)] = None,
    order_id: Annotated[list[OrderId] | None, Query(max_length=MOST_ITEMS, description="Only these")] = None,
    after: Annotated[OrderId | None, Query(description="Where the page before ended")] = None,
    limit: Annotated[int, Query(ge=1, le=LARGEST_LIMIT)] = LARGEST_LIMIT,
) -> list[OrderTotalRead]:
    """What orders cost and how they stand, the oldest first, for services."""
    rows = await Orders(reads).totals(status or (), order_id or (), after, limit)
    return [OrderTotalRead.of(row) for row in rows]


@router.get("/{order_id}", errors=[OrderNotFound])
async def read_order(order_id: OrderId, caller: SignedIn, reads: Reads, seen: Conditions) -> OrderRead:
    """One order, of the caller's own or of anybody's with `orders:read`."""
    order = await Orders(reads).get_visible(order_id, caller)
    seen.tag(order)
    return OrderRead.of(order)


@router.get("/{order_id}/timeline", errors=[OrderNotFound])
async def read_timeline(order_id: OrderId, caller: SignedIn, reads: Reads) -> list[TimelineEventRead]:
    """Every step that was tried for the order and every event about it: what, when, how long, and how it ended."""
    await Orders(reads).get_visible(order_id, caller)
    return [TimelineEventRead.of(each) for each in await queries.history(reads, order_id)]


@router.get("/{order_id}/payments", errors=[OrderNotFound])
async def list_payments(order_id: OrderId, caller: SignedIn, reads: Reads, context: Context) -> list[OrderPaymentRead]:
    """What was charged for the order and what was given back, the newest first."""
    await Orders(reads).get_visible(order_id, caller)
    found = await context.calls()(PaymentsClient).of_order(order_id)
    return [OrderPaymentRead.of(payment) for payment in found]


@router.post(
    "/{order_id}/cancel",
    errors=[*MOVED, SagaOfAnotherVersion],
    framework={"responses": {202: {"model": OrderRead}}},
)
async def cancel_order(
    order_id: OrderId, caller: SignedIn, work: Work, seen: Conditions, response: Response
) -> OrderRead:
    """Cancel an order that was not shipped: the caller's own, or anybody's with `orders:write`.

    202 says that it is still being placed: what is under way ends first, then its stock and its money are taken back.
    """
    order = await commands.cancel(work, order_id, caller)
    if not order.is_settled:
        response.status_code = 202
    return _answered(order, seen)


@router.post("/{order_id}/ship", errors=MOVED)
async def ship_order(order_id: OrderId, caller: MayWrite, work: Work, seen: Conditions) -> OrderRead:
    """The order left the house: its items are taken out of stock."""
    return _answered(await commands.ship(work, order_id), seen)


@router.post("/{order_id}/deliver", errors=MOVED)
async def deliver_order(order_id: OrderId, caller: MayWrite, work: Work, seen: Conditions) -> OrderRead:
    """The order arrived."""
    return _answered(await commands.deliver(work, order_id), seen)


@router.post("/{order_id}/return", errors=MOVED)
async def return_order(order_id: OrderId, caller: MayWrite, work: Work, seen: Conditions) -> OrderRead:
    """The order came back: what was paid is given back, and its items go back into stock."""
    return _answered(await commands.take_back(work, order_id), seen)


@router.post("/{order_id}/saga/retry", status_code=202, errors=[OrderNotFound, SagaNotFound, SagaEnded, StepUnderWay])
async def retry_saga(order_id: OrderId, caller: MayWrite, work: Work) -> None:
    """Have the order's saga make its next attempt at once. Who asked stands in the timeline."""
    await commands.retry_saga(work, order_id, by=caller)


@router.post("/{order_id}/saga/skip", status_code=202, errors=[OrderNotFound, SagaNotFound, SagaEnded, StepUnderWay])
async def skip_step(order_id: OrderId, asked: SkipCreate, caller: MayWrite, work: Work) -> None:
    """Have the order's saga pass over the step that it waits for. Who asked, and why, stands in the timeline."""
    await commands.skip_step(work, order_id, by=caller, reason=asked.reason)


@router.websocket("/{order_id}/live", errors=[OrderNotFound])
async def follow_order(order_id: OrderId, caller: SignedIn, reads: Reads, socket: Socket, context: Context) -> None:
    """How the order stands, and each change of it, until nothing more can follow."""
    await Orders(reads).get_visible(order_id, caller)
    await socket.accept()
    poll = context.settings_of(OrdersSettings).live_poll
    told = 0
    with context.database.change_notifier.follow(order_id) as changed:
        while (row := await queries.standing_of(reads, order_id)) is not None:
            if row.revision != told:
                await socket.send(StandingRead.of(row))
                told = row.revision
            if is_final(row.status):
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(poll):  # what another process changed rings no bell here
                    await changed.wait()
            changed.clear()


def _answered(order: Order, seen: Conditions) -> OrderRead:
    seen.tag(order)
    return OrderRead.of(order)


def _usual_method(context: Context) -> str:
    """The simulated provider's method that always works, where everything is simulated. Raises PaymentMethodMissing."""
    if not database_for(context.settings, context.name).embedded:
        raise PaymentMethodMissing
    return EMBEDDED_METHOD
