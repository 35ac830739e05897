from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

from portico.contracts.catalog import ProductId, ReservationId, ReservationStatus, StockKind
from portico.kit import Moment, OneLine, Schema
from portico.services.catalog.stock.domain import MAX_ON_HAND
from portico.services.catalog.stock.models import NOTE_LENGTH, REASON_LENGTH

MAX_ITEMS = 100
MAX_RESERVATION_SECONDS = 86_400


def _not_zero(quantity: int) -> int:
    if quantity == 0:
        raise PydanticCustomError("no_change", "The quantity of an adjustment must not be 0")
    return quantity


def _each_once(items: "list[Item]") -> "list[Item]":
    if len({item.product_id for item in items}) < len(items):
        raise PydanticCustomError("named_twice", "Each product may appear only once")
    return items


class Item(Schema):
    """A quantity of a product."""

    product_id: ProductId
    quantity: int = Field(ge=1, le=MAX_ON_HAND)


Items = Annotated[list[Item], Field(min_length=1, max_length=MAX_ITEMS), AfterValidator(_each_once)]
"""Products, each once."""


def quantities(items: list[Item]) -> Mapping[ProductId, int]:
    """Return the quantities by product."""
    return {item.product_id: item.quantity for item in items}


def _items(reserved: Any) -> Any:
    """Return the items of a reservation, which stores quantities by product."""
    if isinstance(reserved, Mapping):
        return [Item(product_id=product_id, quantity=quantity) for product_id, quantity in reserved.items()]
    return reserved


class StockLevelRead(Schema):
    """Stock level of a product: `available` is `on_hand - reserved`."""

    product_id: ProductId
    on_hand: int = Field(examples=[10])
    reserved: int = Field(examples=[2])
    available: int = Field(examples=[8])
    updated_at: Moment | None


class AdjustmentCreate(Schema):
    """A correction of the stock, positive or negative, with its reason."""

    quantity: Annotated[int, Field(ge=-MAX_ON_HAND, le=MAX_ON_HAND), AfterValidator(_not_zero)]
    reason: Annotated[str, OneLine(REASON_LENGTH)] = Field(examples=["delivery"])
    note: Annotated[str, StringConstraints(max_length=NOTE_LENGTH)] | None = None


class TransactionRead(Schema):
    """A ledger entry. `quantity` is negative for releases, shipments and reducing adjustments.

    `reference` is the reservation that caused it.
    """

    transaction_id: str = Field(examples=["17"])
    kind: StockKind
    quantity: int
    on_hand_after: int = Field(examples=[10])
    reserved_after: int = Field(examples=[2])
    reference: str | None
    actor: str = Field(examples=["user_01jd8m2v4x6z8q0s2t4w6y8a0b"])
    reason: str | None = Field(examples=["delivery"])
    note: str | None
    created_at: Moment


class AvailabilityQuery(Schema):
    """Items whose availability is checked."""

    items: Items


class AvailabilityItem(Schema):
    """Whether the stock of a product suffices now. An unknown product has none."""

    product_id: ProductId
    requested: int = Field(examples=[1])
    available: int = Field(examples=[8])
    ok: bool


class ReservationPut(Schema):
    """Items to reserve, and for how many seconds unless they are confirmed."""

    items: Items
    expires_in: int | None = Field(None, ge=1, le=MAX_RESERVATION_SECONDS)


class ReservationRead(Schema):
    """A reservation. `expires_at` is null once it is confirmed or has ended."""

    reservation_id: ReservationId
    status: ReservationStatus
    items: Annotated[list[Item], BeforeValidator(_items)]
    expires_at: Moment | None
    created_at: Moment
    updated_at: Moment
