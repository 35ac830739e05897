from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import case, func, literal, or_, select

from portico.contracts.catalog import ProductId
from portico.kit import Keyset, Reader, Slice, Window
from portico.services.catalog.products.errors import ProductNotFound
from portico.services.catalog.stock.domain import HOLDING, ON_HAND, RESERVED
from portico.services.catalog.stock.errors import MomentNotPast
from portico.services.catalog.stock.repository import ITEMS, LEDGER, LEVELS, PRODUCTS, RESERVATIONS

NEWEST = Keyset.by("newest", LEDGER.c.number, descending=True)

_MOST_MISMATCHES = 100


@dataclass(frozen=True, slots=True)
class StockRead:
    """What there is of a product, or was; `updated_at` is None before its first entry, `revision` the number of its last."""

    product_id: ProductId
    on_hand: int
    reserved: int
    updated_at: datetime | None
    revision: int

    @property
    def available(self) -> int:
        return self.on_hand - self.reserved


async def stock(reader: Reader, product_id: ProductId) -> StockRead:
    """What there is of a product. Raises ProductNotFound."""
    found = await _level(reader, product_id)
    if found is None or found.closed_at is not None:
        raise ProductNotFound(product_id=product_id)
    return StockRead(product_id, found.on_hand, found.reserved, found.updated_at, found.entries)


async def stock_at(reader: Reader, product_id: ProductId, moment: datetime) -> StockRead:
    """What there was of a product, also of one that was deleted later. Raises ProductNotFound, MomentNotPast."""
    if moment > reader.now:
        raise MomentNotPast
    found = await _level(reader, product_id)
    if found is None or (found.closed_at is not None and found.closed_at <= moment):
        raise ProductNotFound(product_id=product_id)
    last = (
        select(LEDGER.c.on_hand_after, LEDGER.c.reserved_after, LEDGER.c.created_at, LEDGER.c.number)
        .where(LEDGER.c.product_id == product_id, LEDGER.c.created_at <= moment)
        .order_by(LEDGER.c.created_at.desc(), LEDGER.c.number.desc())
        .limit(1)
    )
    for row in await reader.rows(last):
        return StockRead(product_id, row.on_hand_after, row.reserved_after, row.created_at, row.number)
    return StockRead(product_id, 0, 0, None, 0)


async def transactions(reader: Reader, product_id: ProductId, window: Window) -> Slice[Any]:
    """The ledger of a product, also of one that was deleted, newest first. Raises ProductNotFound, InvalidCursor."""
    level = await _level(reader, product_id)
    if level is None:
        raise ProductNotFound(product_id=product_id)

    async def total() -> int:
        return int(level.entries)

    of_product = select(*LEDGER.c).where(LEDGER.c.product_id == product_id)
    return await NEWEST.page_of_columns(reader, of_product, window, count=total)


async def available(reader: Reader, product_ids: Iterable[ProductId]) -> dict[ProductId, int]:
    """What may be reserved of those of these products that are sold."""
    found = await reader.rows(
        select(LEVELS.c.product_id, (LEVELS.c.on_hand - LEVELS.c.reserved).label("available")).where(
            LEVELS.c.product_id.in_(list(product_ids)), LEVELS.c.closed_at.is_(None)
        )
    )
    return {row.product_id: row.available for row in found}


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Two figures of a product that must agree, and do not."""

    product_id: str
    what: str
    found: int | None
    expected: int | None


async def mismatches(reader: Reader) -> Sequence[Mismatch]:
    """What must be true of all stock at any moment, and is not; a hundred of each kind at most.

    The levels are the sums of the ledger; nothing is negative, nor more reserved than there is; what is reserved is what
    reservations hold; products say what is available.
    """
    wrong: list[Mismatch] = []
    async with reader.snapshot() as moment:
        for what, statement in _INVARIANTS.items():
            rows = await moment.rows(statement.limit(_MOST_MISMATCHES))
            wrong += [Mismatch(row.product_id, what, row.found, row.expected) for row in rows]
    return wrong


async def _level(reader: Reader, product_id: ProductId) -> Any:
    found = await reader.rows(select(*LEVELS.c).where(LEVELS.c.product_id == product_id))
    return found[0] if found else None


def _compared(found: Any, expected: Any, joined: Any) -> Any:
    return (
        select(LEVELS.c.product_id, found.label("found"), expected.label("expected"))
        .select_from(joined)
        .where(found != expected)
    )


def _summed(kinds: Iterable[str]) -> Any:
    return func.sum(case((LEDGER.c.kind.in_(sorted(kinds)), LEDGER.c.quantity), else_=0))


def _invariants() -> dict[str, Any]:
    sums = (
        select(
            LEDGER.c.product_id,
            _summed(ON_HAND).label("on_hand"),
            _summed(RESERVED).label("reserved"),
            func.count().label("entries"),
            func.max(LEDGER.c.number).label("last"),
        )
        .group_by(LEDGER.c.product_id)
        .subquery("sums")
    )
    held = (
        select(ITEMS.c.product_id, func.sum(ITEMS.c.quantity).label("quantity"))
        .join(RESERVATIONS, RESERVATIONS.c.reservation_id == ITEMS.c.reservation_id)
        .where(RESERVATIONS.c.status.in_(sorted(HOLDING)))
        .group_by(ITEMS.c.product_id)
        .subquery("held")
    )
    with_sums = LEVELS.outerjoin(sums, sums.c.product_id == LEVELS.c.product_id)
    with_held = LEVELS.outerjoin(held, held.c.product_id == LEVELS.c.product_id)
    shown = LEVELS.join(PRODUCTS, PRODUCTS.c.product_id == LEVELS.c.product_id)
    last = LEVELS.join(LEDGER, (LEDGER.c.product_id == LEVELS.c.product_id) & (LEDGER.c.number == LEVELS.c.entries))
    available = LEVELS.c.on_hand - LEVELS.c.reserved
    negative = select(LEVELS.c.product_id, available.label("found"), literal(0).label("expected"))
    without = PRODUCTS.outerjoin(LEVELS, PRODUCTS.c.product_id == LEVELS.c.product_id)
    return {
        "on_hand is the sum of the ledger": _compared(LEVELS.c.on_hand, func.coalesce(sums.c.on_hand, 0), with_sums),
        "reserved is the sum of the ledger": _compared(LEVELS.c.reserved, func.coalesce(sums.c.reserved, 0), with_sums),
        "entries are all there": _compared(LEVELS.c.entries, func.coalesce(sums.c.entries, 0), with_sums),
        "entries are numbered without a gap": _compared(LEVELS.c.entries, func.coalesce(sums.c.last, 0), with_sums),
        "the last entry says what is on hand": _compared(LEVELS.c.on_hand, LEDGER.c.on_hand_after, last),
        "the last entry says what is reserved": _compared(LEVELS.c.reserved, LEDGER.c.reserved_after, last),
        "reserved is what reservations hold": _compared(
            LEVELS.c.reserved, func.coalesce(held.c.quantity, 0), with_held
        ),
        "nothing is negative": negative.where(or_(LEVELS.c.on_hand < 0, LEVELS.c.reserved < 0, available < 0)),
        "products say what is available": _compared(PRODUCTS.c.stock_quantity, available, shown),
        "every product has a level": select(
            PRODUCTS.c.product_id, PRODUCTS.c.stock_quantity.label("found"), literal(None).label("expected")
        )
        .select_from(without)
        .where(LEVELS.c.product_id.is_(None)),
    }


_INVARIANTS = _invariants()
