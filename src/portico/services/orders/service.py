"""Use cases of orders."""

from typing import Any

from portico.contracts.orders import OrderCancelled, OrderCreated, OrderId, OrderUpdated
from portico.kit import Principal, UnitOfWork, UserId
from portico.kit.sagas import SagaId, SagaNotFound, request_undo, retry_now, saga_status, skip, start_saga
from portico.services.orders import saga
from portico.services.orders.domain import Basket
from portico.services.orders.models import Order, line_document
from portico.services.orders.repository import Orders
from portico.services.orders.saga import FulfilmentState, PlacingState


async def place_order(
    work: UnitOfWork,
    basket: Basket,
    *,
    user_id: UserId,
    shipping_address: dict[str, Any],
    billing_address: dict[str, Any],
    payment_method: str,
) -> Order:
    """Create an order and start the saga that reserves its stock and charges its payment."""
    order = Order(
        user_id=user_id,
        status="pending",
        currency=basket.total.currency,
        total_minor=basket.total.minor,
        lines=[line_document(line) for line in basket.lines],
        shipping_address=shipping_address,
        billing_address=billing_address,
        payment_method=payment_method,
        created_at=work.now,
        updated_at=work.now,
    )
    await Orders(work).insert_all([order])
    created = order.to_event(OrderCreated)
    state = PlacingState(
        order_id=order.order_id,
        user_id=user_id,
        items=created.items,
        total_minor=order.total_minor,
        currency=order.currency,
        payment_method=payment_method,
    )
    await start_saga(work, saga.place_order, state, subject=order.order_id)
    work.publish(created)
    return order


async def cancel_order(work: UnitOfWork, order_id: OrderId, caller: Principal) -> Order:
    """Cancel an order that was not shipped yet: the caller's own, or any order with `orders:write`.

    A confirmed order is cancelled at once; a saga then refunds the payment and releases the stock. An order that is
    still being placed is cancelled after its running saga step has ended and the earlier steps are undone, because the
    outcome of its charge may not be known yet.

    Raises:
        OrderNotFound: the order does not exist, or the caller may not see it.
        PermissionMissing: the caller may see the order but not change it.
        IllegalTransition: the order was shipped, or has ended already.
        SagaOfAnotherVersion: another version of this service is placing the order.
    """
    order = await Orders(work).get_changeable(order_id, caller)
    if order.is_settled:
        order.cancel(now=work.now)
        await start_saga(work, saga.cancel_order, _fulfilment(order), subject=order_id)
        work.publish(order.to_event(OrderCancelled))
    else:
        order.request_cancellation(now=work.now)
        await request_undo(work, saga.place_order, order_id, reason=f"{caller.subject} cancelled the order")
    work.changes(order_id)
    return order


async def ship_order(work: UnitOfWork, order_id: OrderId) -> Order:
    """Mark an order as shipped and take its items out of stock. Raises OrderNotFound, IllegalTransition."""
    order = await Orders(work).get(order_id, lock=True)
    order.ship(now=work.now)
    await start_saga(work, saga.ship_order, _fulfilment(order), subject=order_id)
    return _publish_update(work, order)


async def deliver_order(work: UnitOfWork, order_id: OrderId) -> Order:
    """Mark an order as delivered. Raises OrderNotFound, IllegalTransition."""
    order = await Orders(work).get(order_id, lock=True)
    order.deliver(now=work.now)
    return _publish_update(work, order)


async def return_order(work: UnitOfWork, order_id: OrderId) -> Order:
    """Mark an order as returned, refund it and put its items back into stock. Raises OrderNotFound, IllegalTransition."""
    order = await Orders(work).get(order_id, lock=True)
    order.mark_returned(now=work.now)
    await start_saga(work, saga.return_order, _fulfilment(order), subject=order_id)
    return _publish_update(work, order)


async def retry_saga(work: UnitOfWork, order_id: OrderId, *, by: Principal) -> None:
    """Retry the order's saga now. Raises OrderNotFound, SagaNotFound, SagaEnded, StepUnderWay."""
    await retry_now(work, await _saga_of(work, order_id), by=by)


async def skip_step(work: UnitOfWork, order_id: OrderId, *, by: Principal, reason: str) -> None:
    """Skip the step that the order's saga waits for, because an operator has done it manually. Raises as retry_saga does."""
    await skip(work, await _saga_of(work, order_id), by=by, reason=reason)


async def _saga_of(work: UnitOfWork, order_id: OrderId) -> SagaId:
    await Orders(work).get(order_id)
    found = await saga_status(work, order_id)
    if found is None:
        raise SagaNotFound(subject=order_id)
    return found.saga_id


def _fulfilment(order: Order) -> FulfilmentState:
    return FulfilmentState(order_id=order.order_id, is_free=order.total_minor == 0)


def _publish_update(work: UnitOfWork, order: Order) -> Order:
    work.publish(order.to_event(OrderUpdated))
    work.changes(order.order_id)
    return order
