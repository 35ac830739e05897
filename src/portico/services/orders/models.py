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
    """The tables of orders."""


@dataclass(frozen=True, slots=True)
class Item:
    """A line of an order as it is shown. Prices are as people write them."""

    product_id: ProductId
    name: str
    quantity: int
    price: Decimal
    subtotal: Decimal


class Order(Table):
    """What somebody ordered, at the prices of that moment, and how it stands.

    `lines` never change and are never asked for alone, so they lie in the row: an order is one INSERT.
    `cancel_requested_at` says that it is to be cancelled as soon as what is under way has ended.
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
        """The status, as the type that it is."""
        return cast("OrderStatus", self.status)

    @property
    def total(self) -> Decimal:
        """The total as people write it."""
        return Money(self.total_minor, self.currency).amount

    @property
    def items(self) -> list[Item]:
        """The lines as they are shown."""
        return [self._item(line) for line in self.lines]

    @property
    def is_settled(self) -> bool:
        """Whether the saga that places it has come to its end: it stands, failed or was cancelled."""
        return self.order_status not in UNSETTLED

    @property
    def told_items(self) -> tuple[OrderedItem, ...]:
        """The lines as events tell them."""
        return tuple(OrderedItem.model_validate(asdict(item)) for item in self.items)

    def to_event(self, kind: type[E], **more: Any) -> E:
        """The event of this kind that says how the order stands."""
        return kind(
            order_id=self.order_id,
            user_id=self.user_id,
            status=self.order_status,
            total=self.total,
            currency=self.currency,
            items=self.told_items,
            **more,
        )

    def ship(self, *, now: datetime) -> None:
        """It left the house. Raises IllegalTransition."""
        self._become("shipped", now)

    def deliver(self, *, now: datetime) -> None:
        """It arrived. Raises IllegalTransition."""
        self._become("delivered", now)

    def take_back(self, *, now: datetime) -> None:
        """It came back. Raises IllegalTransition."""
        self._become("returned", now)

    def call_off(self, *, now: datetime) -> None:
        """It is to be cancelled once what is under way has ended. Raises IllegalTransition."""
        self.ensure_can_become("cancelled")
        if self.cancel_requested_at is None:
            self.cancel_requested_at = self.updated_at = now

    def cancel(self, *, now: datetime) -> None:
        """It is no more. Raises IllegalTransition."""
        self._become("cancelled", now)

    def fail(self, reason: str, detail: str, *, now: datetime) -> None:
        """It could not be had; `reason` is a word and `detail` a sentence. Raises IllegalTransition."""
        self._become("failed", now)
        self.failure_reason, self.failure_detail = reason, detail[:DETAIL_LENGTH]

    def ensure_can_become(self, wanted: OrderStatus) -> None:
        """Raises IllegalTransition."""
        legal = LEGAL[self.order_status]
        if wanted not in legal:
            raise IllegalTransition(order_id=self.order_id, current=self.order_status, wanted=wanted, legal=legal)

    def _become(self, wanted: OrderStatus, now: datetime) -> None:
        self.ensure_can_become(wanted)
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
    """A line as it lies in the row."""
    return {
        "product_id": str(line.product_id),
        "name": line.name,
        "quantity": line.quantity,
        "price_minor": line.price.minor,
    }


def reservation_of(order_id: OrderId) -> ReservationId:
    """The reservation of an order's stock: made of the order's own id, it is the same however often it is asked for."""
    return ReservationId(f"{ReservationId.prefix}_{order_id.partition('_')[2]}")
