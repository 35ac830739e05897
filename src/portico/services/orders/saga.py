"""Sagas of an order: place, cancel, ship and return.

PlacingState can be undone until the order is confirmed. Later changes are decided by the order's row alone, in the request;
the saga then retries the calls to other services until they succeed.
"""

from typing import Any

from portico.contracts.catalog import CatalogClient
from portico.contracts.orders import OrderCancelled, OrderedItem, OrderFailed, OrderId, OrderUpdated
from portico.contracts.payments import PaymentId, PaymentsClient
from portico.kit import (
    FOREVER,
    AbortSaga,
    Calls,
    Money,
    Saga,
    SagaState,
    Step,
    StepPending,
    UndoReason,
    UnitOfWork,
    UserId,
    minutes,
    seconds,
)
from portico.kit.calls import Refused
from portico.services.orders.domain import UNSETTLED
from portico.services.orders.models import reservation_id_of
from portico.services.orders.repository import Orders

PLACED_WITHIN = minutes(15)
RESERVED_FOR = minutes(60)  # longer than PLACED_WITHIN: stock must not be released while the saga is running
_CHARGE_POLL = 0.5  # seconds between checks of the outcome of a charge
_SHIPMENT_POLL = 2.0  # seconds between attempts to return stock whose shipment is not recorded yet


class PlacingState(SagaState):
    """State of the place-order saga."""

    order_id: OrderId
    user_id: UserId
    items: tuple[OrderedItem, ...]
    total_minor: int
    currency: str
    payment_method: str
    payment_id: PaymentId | None = None

    @property
    def is_free(self) -> bool:
        """Whether there is nothing to pay."""
        return self.total_minor == 0

    def to_confirmed_event(self) -> OrderUpdated:
        """Return the event for the confirmed order, without reading its row."""
        return OrderUpdated(
            order_id=self.order_id,
            user_id=self.user_id,
            status="confirmed",
            total=Money(self.total_minor, self.currency).amount,
            currency=self.currency,
            items=self.items,
        )


class FulfilmentState(SagaState):
    """State of the sagas that cancel, ship and return an order."""

    order_id: OrderId
    is_free: bool


async def reserve_stock(state: PlacingState, calls: Calls) -> None:
    """Reserve all items in the catalog, or none."""
    items = {item.product_id: item.quantity for item in state.items}
    expires_in = int(RESERVED_FOR.total_seconds())
    try:
        await calls(CatalogClient).reserve(reservation_id_of(state.order_id), items, expires_in=expires_in)
    except Refused as refused:
        if refused.code == "insufficient_stock":
            raise AbortSaga(_shortage_message(refused.problem.get("items")), code="insufficient_stock") from refused
        raise


async def release_stock(state: PlacingState, calls: Calls) -> None:
    """Release the reservation, whatever its status. A later reserve of the same id is rejected."""
    await calls(CatalogClient).release(reservation_id_of(state.order_id))


async def take_payment(state: PlacingState, calls: Calls) -> PlacingState:
    """Charge the total. The key makes repeated attempts charge once."""
    if state.is_free:
        return state
    payment = await calls(PaymentsClient).charge(
        key=charge_key(state.order_id),
        order_id=state.order_id,
        user_id=state.user_id,
        amount=Money(state.total_minor, state.currency),
        method=state.payment_method,
    )
    if payment.status == "processing":
        raise StepPending(_CHARGE_POLL)
    if payment.status != "succeeded":
        reason = payment.failure_reason or payment.status
        raise AbortSaga(f"The payment was declined: {reason}", code="payment_declined")
    return state.with_(payment_id=payment.payment_id)


async def void_payment(state: PlacingState, calls: Calls) -> None:
    """Void the charge: refund it, and reject a charge with the same key that arrives later."""
    if not state.is_free:
        await calls(PaymentsClient).void(charge_key(state.order_id))


async def confirm_stock(state: PlacingState, calls: Calls) -> None:
    """Confirm the reservation, so that it no longer expires."""
    await calls(CatalogClient).confirm(reservation_id_of(state.order_id))


async def mark_reserved(state: PlacingState, work: UnitOfWork) -> None:
    await Orders(work).change_status(work, state.order_id, "reserved", since=["pending"])
    work.changes(state.order_id)


async def mark_paid(state: PlacingState, work: UnitOfWork) -> None:
    await Orders(work).change_status(work, state.order_id, "paid", since=["pending", "reserved"])
    work.changes(state.order_id)


async def mark_confirmed(state: PlacingState, work: UnitOfWork) -> None:
    """Confirm the order, unless its cancellation was requested meanwhile: the saga is then undone."""
    if not await Orders(work).change_status(work, state.order_id, "confirmed", since=UNSETTLED):
        order = await Orders(work).get(state.order_id, lock=True)
        if order.cancel_requested_at is not None:
            return
        order.ensure_can_change_to("confirmed")
    work.publish(state.to_confirmed_event())
    work.changes(state.order_id)


async def end_order(state: PlacingState, work: UnitOfWork, why: UndoReason) -> None:
    """Mark the order as cancelled if that was requested, otherwise as failed. Stock and payment are released already."""
    order = await Orders(work).get(state.order_id, lock=True)
    if why.requested:
        order.cancel(now=work.now)
        work.publish(order.to_event(OrderCancelled))
    else:
        reason = _failure_code(why.code)
        order.fail(reason, why.reason, now=work.now)
        work.publish(order.to_event(OrderFailed, failure_reason=reason))
    work.changes(order.order_id)


# Another process takes over a step `within` plus a margin after the process running it died.
place_order = Saga(
    "place-order",
    PlacingState,
    Step("reserve-stock", reserve_stock, record=mark_reserved, undo=release_stock, within=seconds(5), retry=9),
    Step(
        "take-payment",
        take_payment,
        record=mark_paid,
        undo=void_payment,
        within=seconds(15),
        retry=9,
        deadline=minutes(10),
    ),
    Step("confirm-stock", confirm_stock, record=mark_confirmed, within=seconds(5), retry=12),
    deadline=PLACED_WITHIN,
    when_undone=end_order,
)


async def refund_all(state: FulfilmentState, calls: Calls) -> None:
    """Refund what was charged and not refunded yet."""
    if not state.is_free:
        await calls(PaymentsClient).void(charge_key(state.order_id))


async def release_confirmed_stock(state: FulfilmentState, calls: Calls) -> None:
    """Release the reservation of a cancelled order."""
    await calls(CatalogClient).release(reservation_id_of(state.order_id))


async def ship_stock(state: FulfilmentState, calls: Calls) -> None:
    """Take the items out of stock."""
    await calls(CatalogClient).ship(reservation_id_of(state.order_id))


async def return_stock(state: FulfilmentState, calls: Calls) -> None:
    """Put the items back into stock."""
    try:
        await calls(CatalogClient).return_(reservation_id_of(state.order_id))
    except Refused as refused:
        if refused.code == "reservation_not_shipped":
            raise StepPending(_SHIPMENT_POLL) from refused  # the catalog has not recorded the shipment yet
        raise


cancel_order = Saga(
    "cancel-order",
    FulfilmentState,
    Step("refund-payment", refund_all, within=seconds(15), retry=FOREVER),
    Step("release-stock", release_confirmed_stock, retry=FOREVER),
)

ship_order = Saga("ship-order", FulfilmentState, Step("ship-stock", ship_stock, retry=FOREVER))

return_order = Saga(
    "return-order",
    FulfilmentState,
    Step("refund-payment", refund_all, within=seconds(15), retry=FOREVER),
    Step("return-stock", return_stock, retry=FOREVER),
)


def charge_key(order_id: OrderId) -> str:
    """Return the idempotency key of the order's charge."""
    return f"order:{order_id}"


def _failure_code(code: str) -> str:
    """Return a code for the API: names of internal exceptions become `service_unavailable`."""
    return code if code.islower() else "service_unavailable"


def _shortage_message(items: Any) -> str:
    short = [
        f"{item.get('product_id')} ({item.get('requested')} requested, {item.get('available')} available)"
        for item in (items if isinstance(items, list) else [])
        if isinstance(item, dict)
    ]
    return f"Insufficient stock for {', '.join(short)}" if short else "Insufficient stock"
