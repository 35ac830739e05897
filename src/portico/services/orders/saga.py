"""The long transactions of an order: how it is placed, and what follows when it is cancelled, shipped or returned.

Placing can be taken back until the order stands. What comes later is decided by the order's row alone, in the request
that asks for it; what others have to do about it is then done for as long as it takes.
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
from portico.services.orders.models import reservation_of
from portico.services.orders.repository import Orders

PLACED_WITHIN = minutes(15)
RESERVED_FOR = minutes(60)  # longer than placing may take: stock does not go back to the shelf under a living saga
_LOOK_AGAIN = 0.5  # seconds between two looks for the outcome of a charge
_IN_ORDER = 2.0  # seconds until stock that is still on its way out is asked to come back again


class Placing(SagaState):
    """What placing an order needs to know, and learns."""

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
        """What is told once it stands; the state knows it all, so that the row need not be read."""
        return OrderUpdated(
            order_id=self.order_id,
            user_id=self.user_id,
            status="confirmed",
            total=Money(self.total_minor, self.currency).amount,
            currency=self.currency,
            items=self.items,
        )


class Following(SagaState):
    """What follows for an order that was cancelled, shipped or returned."""

    order_id: OrderId
    is_free: bool


async def reserve_stock(placing: Placing, calls: Calls) -> None:
    """Hold the items in the catalogue: all or none."""
    items = {item.product_id: item.quantity for item in placing.items}
    expires_in = int(RESERVED_FOR.total_seconds())
    try:
        await calls(CatalogClient).reserve(reservation_of(placing.order_id), items, expires_in=expires_in)
    except Refused as refused:
        if refused.code == "insufficient_stock":
            raise AbortSaga(_what_is_short(refused.problem.get("items")), code="insufficient_stock") from refused
        raise


async def release_stock(placing: Placing, calls: Calls) -> None:
    """Hold the items no longer, whether they were held, held for good, or never."""
    await calls(CatalogClient).release(reservation_of(placing.order_id))


async def take_payment(placing: Placing, calls: Calls) -> Placing:
    """Charge the total, once for the order however often this is tried."""
    if placing.is_free:
        return placing
    payment = await calls(PaymentsClient).charge(
        key=charge_key(placing.order_id),
        order_id=placing.order_id,
        user_id=placing.user_id,
        amount=Money(placing.total_minor, placing.currency),
        method=placing.payment_method,
    )
    if payment.status == "processing":
        raise StepPending(_LOOK_AGAIN)
    if payment.status != "succeeded":
        reason = payment.failure_reason or payment.status
        raise AbortSaga(f"The payment was refused: {reason}", code="payment_declined")
    return placing.with_(payment_id=payment.payment_id)


async def give_money_back(placing: Placing, calls: Calls) -> None:
    """See to it that nothing is charged for the order, also by a charge that comes late."""
    if not placing.is_free:
        await calls(PaymentsClient).void(charge_key(placing.order_id))


async def confirm_stock(placing: Placing, calls: Calls) -> None:
    """Hold the items for good."""
    await calls(CatalogClient).confirm(reservation_of(placing.order_id))


async def mark_reserved(placing: Placing, work: UnitOfWork) -> None:
    await Orders(work).move_on(work, placing.order_id, "reserved", since=["pending"])
    work.changes(placing.order_id)


async def mark_paid(placing: Placing, work: UnitOfWork) -> None:
    await Orders(work).move_on(work, placing.order_id, "paid", since=["pending", "reserved"])
    work.changes(placing.order_id)


async def mark_confirmed(placing: Placing, work: UnitOfWork) -> None:
    """The order stands, unless somebody asked meanwhile to cancel it: then all is about to be taken back."""
    if not await Orders(work).move_on(work, placing.order_id, "confirmed", since=UNSETTLED):
        order = await Orders(work).get(placing.order_id, lock=True)
        if order.cancel_requested_at is not None:
            return
        order.ensure_can_become("confirmed")
    work.publish(placing.to_confirmed_event())
    work.changes(placing.order_id)


async def end_order(placing: Placing, work: UnitOfWork, why: UndoReason) -> None:
    """Nothing is held and nothing is charged: the order is cancelled where somebody asked for it, else it failed."""
    order = await Orders(work).get(placing.order_id, lock=True)
    if why.asked:
        order.cancel(now=work.now)
        work.publish(order.to_event(OrderCancelled))
    else:
        reason = _as_word(why.code)
        order.fail(reason, why.reason, now=work.now)
        work.publish(order.to_event(OrderFailed, failure_reason=reason))
    work.changes(order.order_id)


# A step that dies with its process is taken over when `within` and a margin have passed: no longer than a call may take.
place_order = Saga(
    "place-order",
    Placing,
    Step("reserve-stock", reserve_stock, record=mark_reserved, undo=release_stock, within=seconds(5), retry=9),
    Step(
        "take-payment",
        take_payment,
        record=mark_paid,
        undo=give_money_back,
        within=seconds(15),
        retry=9,
        deadline=minutes(10),
    ),
    Step("confirm-stock", confirm_stock, record=mark_confirmed, within=seconds(5), retry=12),
    deadline=PLACED_WITHIN,
    when_undone=end_order,
)


async def refund_all(following: Following, calls: Calls) -> None:
    """Give back what was charged for the order, less what was given back before."""
    if not following.is_free:
        await calls(PaymentsClient).void(charge_key(following.order_id))


async def let_stock_go(following: Following, calls: Calls) -> None:
    """Hold the items no longer."""
    await calls(CatalogClient).release(reservation_of(following.order_id))


async def take_out_of_stock(following: Following, calls: Calls) -> None:
    """The items left the house."""
    await calls(CatalogClient).ship(reservation_of(following.order_id))


async def put_back_into_stock(following: Following, calls: Calls) -> None:
    """The items came back."""
    try:
        await calls(CatalogClient).return_(reservation_of(following.order_id))
    except Refused as refused:
        if refused.code == "reservation_not_shipped":
            raise StepPending(_IN_ORDER) from refused  # that they left is still on its way to the catalogue
        raise


cancel_order = Saga(
    "cancel-order",
    Following,
    Step("refund-payment", refund_all, within=seconds(15), retry=FOREVER),
    Step("release-stock", let_stock_go, retry=FOREVER),
)

ship_order = Saga("ship-order", Following, Step("ship-stock", take_out_of_stock, retry=FOREVER))

return_order = Saga(
    "return-order",
    Following,
    Step("refund-payment", refund_all, within=seconds(15), retry=FOREVER),
    Step("return-stock", put_back_into_stock, retry=FOREVER),
)


def charge_key(order_id: OrderId) -> str:
    """What makes the charge of an order happen once: the order itself."""
    return f"order:{order_id}"


def _as_word(code: str) -> str:
    """A failure's code as a word of ours: what is the name of an error in the code concerns nobody else."""
    return code if code.islower() else "service_unavailable"


def _what_is_short(items: Any) -> str:
    short = [
        f"{item.get('product_id')} ({item.get('requested')} wanted, {item.get('available')} there)"
        for item in (items if isinstance(items, list) else [])
        if isinstance(item, dict)
    ]
    return f"There is not enough of {', '.join(short)}" if short else "There is not enough in stock"
