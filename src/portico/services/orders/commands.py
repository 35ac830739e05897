from typing import Any

from portico.contracts.orders import OrderCancelled, OrderCreated, OrderId, OrderUpdated
from portico.kit import Principal, UnitOfWork, UserId
from portico.kit.sagas import SagaId, SagaNotFound, retry_now, saga_status, skip
from portico.services.orders.domain import Basket
from portico.services.orders.models import Order, line_document
from portico.services.orders.repository import Orders
from portico.services.orders.saga import Following, Placing, cancel_order, place_order, return_order, ship_order


async def place(
    work: UnitOfWork,
    basket: Basket,
    *,
    user_id: UserId,
    shipping_address: dict[str, Any],
    billing_address: dict[str, Any],
    payment_method: str,
) -> Order:
    """Place an order, and begin to see to its stock and its money."""
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
    await Orders(work).insert(work, order)
    created = order.to_event(OrderCreated)
    placing = Placing(
        order_id=order.order_id,
        user_id=user_id,
        items=created.items,
        total_minor=order.total_minor,
        currency=order.currency,
        payment_method=payment_method,
    )
    await place_order.start(work, placing, subject=order.order_id)
    work.publish(created)
    return order


async def cancel(work: UnitOfWork, order_id: OrderId, caller: Principal) -> Order:
    """Cancel an order that was not shipped: the caller's own, or anybody's where `caller` may change any.

    One that stands is cancelled at once, and its money and stock follow. One that is being placed is cancelled when
    what is under way has ended and all is taken back: its charge may be on its way, and nobody knows yet how it ends.

    Raises:
        OrderNotFound: there is no such order, or none that the caller may see.
        PermissionMissing: the caller may see it, and no more.
        IllegalTransition: it was shipped, or has come to another end.
        SagaOfAnotherVersion: it is being placed by another version of this service.
    """
    order = await Orders(work).get_changeable(order_id, caller)
    if order.is_settled:
        order.cancel(now=work.now)
        await cancel_order.start(work, _following(order), subject=order_id)
        work.publish(order.to_event(OrderCancelled))
    else:
        order.call_off(now=work.now)
        await place_order.ask_to_undo(work, order_id, reason=f"{caller.subject} cancelled the order")
    work.changes(order_id)
    return order


async def ship(work: UnitOfWork, order_id: OrderId) -> Order:
    """The order left the house; its items are taken out of stock. Raises OrderNotFound, IllegalTransition."""
    order = await Orders(work).get(order_id, lock=True)
    order.ship(now=work.now)
    await ship_order.start(work, _following(order), subject=order_id)
    return _told(work, order)


async def deliver(work: UnitOfWork, order_id: OrderId) -> Order:
    """The order arrived. Raises OrderNotFound, IllegalTransition."""
    order = await Orders(work).get(order_id, lock=True)
    order.deliver(now=work.now)
    return _told(work, order)


async def take_back(work: UnitOfWork, order_id: OrderId) -> Order:
    """The order came back: its money is given back, and its items to stock. Raises OrderNotFound, IllegalTransition."""
    order = await Orders(work).get(order_id, lock=True)
    order.take_back(now=work.now)
    await return_order.start(work, _following(order), subject=order_id)
    return _told(work, order)


async def retry_saga(work: UnitOfWork, order_id: OrderId, *, by: Principal) -> None:
    """Have the order's saga try again at once. Raises OrderNotFound, SagaNotFound, SagaEnded, StepUnderWay."""
    await retry_now(work, await _saga_of(work, order_id), by=by)


async def skip_step(work: UnitOfWork, order_id: OrderId, *, by: Principal, reason: str) -> None:
    """Have the order's saga pass over the step that it waits for, which somebody did by hand. Raises what retrying does."""
    await skip(work, await _saga_of(work, order_id), by=by, reason=reason)


async def _saga_of(work: UnitOfWork, order_id: OrderId) -> SagaId:
    await Orders(work).get(order_id)
    found = await saga_status(work, order_id)
    if found is None:
        raise SagaNotFound(subject=order_id)
    return found.saga_id


def _following(order: Order) -> Following:
    return Following(order_id=order.order_id, is_free=order.total_minor == 0)


def _told(work: UnitOfWork, order: Order) -> Order:
    work.publish(order.to_event(OrderUpdated))
    work.changes(order.order_id)
    return order
