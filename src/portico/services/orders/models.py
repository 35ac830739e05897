from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar, cast

from sqlalchemy import BigInteger, Index, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from portico.contracts.catalog import ProductId, ReservationId
from portico.contracts.orders import OrderedItem, OrderEvent, OrderId, OrderStatus
from portico.kit import Money, TableRules, UserId, identifier, revision
from portico.kit.data import ExactText, Payload
from portico.services.orders.domain import LEGAL, UNSETTLED, Line
from portico.services.orders.errors import IllegalTransition

E = TypeVar("E", bound=OrderEvent)

METHOD_LENGTH = 100
DETAIL_LENGTH = 500


class Table(TableRules, DeclarativeBase):
    """Base of the tables of orders."""


@dataclass(frozen=True, slots=True)
class Item:
    """A line of an order, with prices in major units."""

    product_id: ProductId
    name: str
    quantity: int
    price: Decimal
    subtotal: Decimal


class Order(Table):
    """An order at the prices of the moment when it was placed.

    `lines` never change and are never queried alone, so they are stored in the row: an order is one INSERT.
    `cancel_requested_at` is set when the order has to be cancelled after the running saga step has ended.
    """

    __tablename__ = "orders"

    order_id: Mapped[OrderId] = identifier()
    user_id: Mapped[UserId]
    status: Mapped[str] = mapped_column(ExactText(10))
    currency: Mapped[str] = mapped_column(ExactText(3))
    total_minor: Mapped[int] = mapped_column(BigInteger)
    lines: Mapped[list[dict[str, Any]]] = mapped_column(Payload)
    shipping_address: Mapped[dict[str, Any]] = mapped_column(Payload)
    billing_address: Mapped[dict[str, Any]] = mapped_column(Payload)
    payment_method: Mapped[str] = mapped_column(String(METHOD_LENGTH))
    failure_reason: Mapped[str | None] = mapped_column(ExactText(64))
    failure_detail: Mapped[str | None] = mapped_column(String(DETAIL_LENGTH))
    cancel_requested_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    revision: Mapped[int] = revision()

    __table_args__ = (Index(None, "user_id", "order_id"), Index(None, "status", "order_id"))

    @property
    def order_status(self) -> OrderStatus:
        """The status with its literal type."""
        return cast("OrderStatus", self.status)

    @property
    def total(self) -> Decimal:
        """The total in major units."""
        return Money(self.total_minor, self.currency).amount

    @property
    def items(self) -> list[Item]:
        """The lines with prices in major units."""
        return [self._item(line) for line in self.lines]

    @property
    def is_settled(self) -> bool:
        """Whether the place-order saga has ended: the order is confirmed, failed or cancelled."""
        return self.order_status not in UNSETTLED

    @property
    def event_items(self) -> tuple[OrderedItem, ...]:
        """The lines as events contain them."""
        return tuple(OrderedItem.model_validate(asdict(item)) for item in self.items)

    def to_event(self, kind: type[E], **more: Any) -> E:
        """Return an event of this type with the current state of the order."""
        return kind(
            order_id=self.order_id,
            user_id=self.user_id,
            status=self.order_status,
            total=self.total,
            currency=self.currency,
            items=self.event_items,
            **more,
        )

    def ship(self, *, now: datetime) -> None:
        """Mark the order as shipped. Raises IllegalTransition."""
        self._change_to("shipped", now)

    def deliver(self, *, now: datetime) -> None:
        """Mark the order as delivered. Raises IllegalTransition."""
        self._change_to("delivered", now)

    def mark_returned(self, *, now: datetime) -> None:
        """Mark the order as returned. Raises IllegalTransition."""
        self._change_to("returned", now)

    def request_cancellation(self, *, now: datetime) -> None:
        """Request cancellation after the running saga step has ended. Raises IllegalTransition."""
        self.ensure_can_change_to("cancelled")
        if self.cancel_requested_at is None:
            self.cancel_requested_at = self.updated_at = now

    def cancel(self, *, now: datetime) -> None:
        """Mark the order as cancelled. Raises IllegalTransition."""
        self._change_to("cancelled", now)

    def fail(self, reason: str, detail: str, *, now: datetime) -> None:
        """Mark the order as failed; `reason` is a code and `detail` a sentence. Raises IllegalTransition."""
        self._change_to("failed", now)
        self.failure_reason, self.failure_detail = reason, detail[:DETAIL_LENGTH]

    def ensure_can_change_to(self, wanted: OrderStatus) -> None:
        """Raise IllegalTransition unless the status may change to `wanted`."""
        legal = LEGAL[self.order_status]
        if wanted not in legal:
            raise IllegalTransition(order_id=self.order_id, current=self.order_status, wanted=wanted, legal=legal)

    def _change_to(self, wanted: OrderStatus, now: datetime) -> None:
        self.ensure_can_change_to(wanted)
        self.status, self.updated_at = wanted, now

    def _item(self, line: dict[str, Any]) -> Item:
        price, quantity = line["price_minor"], line["quantity"]
        return Item(
            ProductId(line["product_id"]),
            line["name"],
            quantity,
            Money(price, self.currency).amount,
            Money(price * quantity, self.currency).amount,
        )


def line_document(line: Line) -> dict[str, Any]:
    """Return a line as it is stored in the row."""
    return {
        "product_id": str(line.product_id),
        "name": line.name,
        "quantity": line.quantity,
        "price_minor": line.price.minor,
    }


def reservation_id_of(order_id: OrderId) -> ReservationId:
    """Return the id of the order's stock reservation. It is derived from the order's id, so repeated calls use the same id."""
    return ReservationId(f"{ReservationId.prefix}_{order_id.partition('_')[2]}")
