from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

from portico.contracts.catalog import ProductId, ReservationId, ReservationStatus, StockKind
from portico.kit import Moment, Schema
from portico.services.catalog.stock.domain import MOST_ON_HAND, Reservation
from portico.services.catalog.stock.models import NOTE_LENGTH, REASON_LENGTH

MOST_ITEMS = 100
LONGEST_RESERVATION = 86_400  # seconds; what is held longer is confirmed


def _not_zero(quantity: int) -> int:
    if quantity == 0:
        raise PydanticCustomError("no_change", "An adjustment is by one at least, up or down")
    return quantity


def _each_once(items: "list[Item]") -> "list[Item]":
    if len({item.product_id for item in items}) < len(items):
        raise PydanticCustomError("named_twice", "Each product is named once")
    return items


class Item(Schema):
    """So many of a product."""

    product_id: ProductId
    quantity: int = Field(ge=1, le=MOST_ON_HAND)


Items = Annotated[list[Item], Field(min_length=1, max_length=MOST_ITEMS), AfterValidator(_each_once)]
"""Products, each once."""


def quantities(items: list[Item]) -> Mapping[ProductId, int]:
    """How many of which product."""
    return {item.product_id: item.quantity for item in items}


class StockLevelRead(Schema):
    """What there is of a product: `available` is what is on hand and not reserved."""

    product_id: ProductId
    on_hand: int
    reserved: int
    available: int
    updated_at: Moment | None


class AdjustmentCreate(Schema):
    """How many more there are than was known, or fewer where `quantity` is negative, and why."""

    quantity: Annotated[int, Field(ge=-MOST_ON_HAND, le=MOST_ON_HAND), AfterValidator(_not_zero)]
    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=REASON_LENGTH)]
    note: Annotated[str, StringConstraints(max_length=NOTE_LENGTH)] | None = None


class TransactionRead(Schema):
    """An entry of the ledger. `quantity` is negative for what was released or shipped, and where an adjustment took away.

    `reference` is the reservation that it belongs to.
    """

    transaction_id: str
    kind: StockKind
    quantity: int
    on_hand_after: int
    reserved_after: int
    reference: str | None
    actor: str
    reason: str | None
    note: str | None
    created_at: Moment


class AvailabilityAsk(Schema):
    """What somebody would like to have."""

    items: Items


class AvailabilityItem(Schema):
    """Whether there is enough of a product at this moment. Of one that is not sold there is none."""

    product_id: ProductId
    requested: int
    available: int
    ok: bool


class ReservationPut(Schema):
    """What is to be held, and for how many seconds unless it is confirmed."""

    items: Items
    expires_in: int | None = Field(None, ge=1, le=LONGEST_RESERVATION)


class ReservationRead(Schema):
    """Items that are held, or were. `expires_at` is null once they are confirmed or let go."""

    reservation_id: ReservationId
    status: ReservationStatus
    items: list[Item]
    expires_at: Moment | None
    created_at: Moment
    updated_at: Moment

    @classmethod
    def of(cls, source: Reservation) -> "ReservationRead":
        return cls(
            reservation_id=source.reservation_id,
            status=source.status,
            items=[Item(product_id=product_id, quantity=quantity) for product_id, quantity in source.items.items()],
            expires_at=source.expires_at,
            created_at=source.created_at,
            updated_at=source.updated_at,
        )
