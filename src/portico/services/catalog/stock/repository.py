"""SQL of stock. Rows are always locked in the same order: reservations, levels, products, each by id."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import bindparam, insert, select, update

from portico.contracts.catalog import ProductId, ReservationId
from portico.kit import Keyset, Reader, Slice, UnitOfWork, Window
from portico.kit.data import Statement
from portico.services.catalog.errors import ProductNotFound
from portico.services.catalog.models import Product
from portico.services.catalog.stock.domain import Entry, Level, Reservation, StockBatch
from portico.services.catalog.stock.errors import MomentNotPast
from portico.services.catalog.stock.models import (
    StockLevel,
    StockReservation,
    StockReservationItem,
    StockTransaction,
)

PRODUCTS: Any = Product.__table__
LEVELS: Any = StockLevel.__table__
LEDGER: Any = StockTransaction.__table__
RESERVATIONS: Any = StockReservation.__table__
ITEMS: Any = StockReservationItem.__table__

_SUMS = ("on_hand", "reserved", "entries", "updated_at", "closed_at")
_INSERT_ENTRY, _INSERT_LEVEL, _INSERT_RESERVATION, _INSERT_ITEM = map(
    Statement, map(insert, (LEDGER, LEVELS, RESERVATIONS, ITEMS))
)
_UPDATE_LEVEL = Statement(
    update(LEVELS).where(LEVELS.c.product_id == bindparam("key")).values({name: bindparam(name) for name in _SUMS})
)
_UPDATE_PRODUCT = Statement(
    update(PRODUCTS)
    .where(PRODUCTS.c.product_id == bindparam("key"))
    .values({name: bindparam(name) for name in ("stock_quantity", "stock_entries")})
)
_UPDATE_RESERVATION = Statement(
    update(RESERVATIONS)
    .where(RESERVATIONS.c.reservation_id == bindparam("key"))
    .values({name: bindparam(name) for name in ("status", "expires_at", "updated_at")})
)
_LOCK_RESERVATIONS = (
    select(*RESERVATIONS.c)
    .where(RESERVATIONS.c.reservation_id.in_(bindparam("ids", expanding=True)))
    .order_by(RESERVATIONS.c.reservation_id)
    .with_for_update()
)
_SELECT_ITEMS = (
    select(*ITEMS.c)
    .where(ITEMS.c.reservation_id.in_(bindparam("ids", expanding=True)))
    .order_by(ITEMS.c.reservation_id, ITEMS.c.product_id)
)
_LOCK_LEVELS = (
    select(*LEVELS.c)
    .where(LEVELS.c.product_id.in_(bindparam("ids", expanding=True)))
    .order_by(LEVELS.c.product_id)
    .with_for_update()
)
"""Built once, because building a statement costs more than running it."""

NEWEST = Keyset.by("newest", LEDGER.c.number, descending=True)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StockView:
    """Stock of a product, now or at a past moment.

    `updated_at` is None before the first ledger entry; `revision` is the number of the last one.
    """

    product_id: ProductId
    on_hand: int
    reserved: int
    updated_at: datetime | None
    revision: int

    @property
    def available(self) -> int:
        return self.on_hand - self.reserved


async def current_stock(reader: Reader, product_id: ProductId) -> StockView:
    """Return the current stock of a product. Raises ProductNotFound."""
    found = await _level(reader, product_id)
    if found is None or found.closed_at is not None:
        raise ProductNotFound(product_id=product_id)
    return StockView(product_id, found.on_hand, found.reserved, found.updated_at, found.entries)


async def stock_at(reader: Reader, product_id: ProductId, moment: datetime) -> StockView:
    """Return the stock at a past moment, also of a product deleted since. Raises ProductNotFound, MomentNotPast."""
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
        return StockView(product_id, row.on_hand_after, row.reserved_after, row.created_at, row.number)
    return StockView(product_id, 0, 0, None, 0)


async def list_transactions(reader: Reader, product_id: ProductId, window: Window) -> Slice[Entry]:
    """Return a page of a product's ledger, newest first, also of a deleted product. Raises ProductNotFound, InvalidCursor."""
    level = await _level(reader, product_id)
    if level is None:
        raise ProductNotFound(product_id=product_id)

    async def total() -> int:
        return int(level.entries)

    of_product = select(*LEDGER.c).where(LEDGER.c.product_id == product_id)
    return await NEWEST.page_of_columns(reader, of_product, window, count=total)


async def available_stock(reader: Reader, product_ids: Iterable[ProductId]) -> dict[ProductId, int]:
    """Return the available stock of the products that exist."""
    found = await reader.rows(
        select(LEVELS.c.product_id, (LEVELS.c.on_hand - LEVELS.c.reserved).label("available")).where(
            LEVELS.c.product_id.in_(list(product_ids)), LEVELS.c.closed_at.is_(None)
        )
    )
    return {row.product_id: row.available for row in found}


async def _level(reader: Reader, product_id: ProductId) -> Any:
    found = await reader.rows(select(*LEVELS.c).where(LEVELS.c.product_id == product_id))
    return found[0] if found else None


async def load_batch(
    work: UnitOfWork, *, reservations: Collection[ReservationId] = (), products: Iterable[ProductId] = ()
) -> StockBatch:
    """Return the reservations, and the levels of their products and of `products`, all locked."""
    found = await _reservations(work, reservations)
    wanted = {*products, *(product_id for each in found.values() for product_id in each.items)}
    return StockBatch(await levels(work, wanted), found, work.now)


async def levels(work: UnitOfWork, product_ids: Collection[ProductId]) -> dict[ProductId, Level]:
    """Return the levels of these products, locked."""
    if not product_ids:
        return {}
    rows = await work.rows(_LOCK_LEVELS, {"ids": _padded(sorted(product_ids))})
    return {row.product_id: Level(**row._mapping) for row in rows}  # noqa: SLF001  SQLAlchemy's public name for it


async def save_batch(work: UnitOfWork, batch: StockBatch) -> None:
    """Write the changed reservations and levels of `batch`, and its entries."""
    changed = [each for each in batch.reservations.values() if each.changed]
    await _insert_reservations(work, [each for each in changed if not each.known])
    await work.write_each(_UPDATE_RESERVATION, sorted((_changed_row(each) for each in changed if each.known), key=_key))
    await insert_entries(work, batch.entries)
    await update_levels(work, [batch.levels[key] for key in sorted({entry.product_id for entry in batch.entries})])


async def insert_entries(work: UnitOfWork, entries: Sequence[Entry]) -> None:
    """Insert ledger entries. The caller also writes the levels."""
    await work.write_each(_INSERT_ENTRY, [entry._asdict() for entry in entries])


async def update_levels(work: UnitOfWork, changed: Iterable[Level]) -> None:
    """Update locked levels, in order of their ids."""
    await work.write_each(_UPDATE_LEVEL, [{"key": level.product_id, **_sums(level)} for level in changed])


async def update_products(work: UnitOfWork, changed: Iterable[Level]) -> None:
    """Store the available stock in the products, in order of their ids."""
    await work.write_each(
        _UPDATE_PRODUCT,
        [
            {"key": level.product_id, "stock_quantity": level.available, "stock_entries": level.entries}
            for level in changed
        ],
    )


async def insert_levels(work: UnitOfWork, new: Iterable[Level]) -> None:
    """Insert the levels of new products."""
    await work.write_each(_INSERT_LEVEL, [{"product_id": level.product_id, **_sums(level)} for level in new])


async def _reservations(
    work: UnitOfWork, reservation_ids: Collection[ReservationId]
) -> dict[ReservationId, Reservation]:
    if not reservation_ids:
        return {}
    rows = await work.rows(_LOCK_RESERVATIONS, {"ids": _padded(sorted(reservation_ids))})
    if not rows:
        return {}
    items: defaultdict[ReservationId, dict[ProductId, int]] = defaultdict(dict)
    for item in await work.rows(_SELECT_ITEMS, {"ids": _padded([row.reservation_id for row in rows])}):
        items[item.reservation_id][item.product_id] = item.quantity
    return {row.reservation_id: Reservation(**row._mapping, items=items[row.reservation_id]) for row in rows}  # noqa: SLF001  as above


async def _insert_reservations(work: UnitOfWork, new: Sequence[Reservation]) -> None:
    rows = sorted((_new_row(each) for each in new), key=lambda row: str(row["reservation_id"]))
    await work.write_each(_INSERT_RESERVATION, rows)
    items = [
        {"reservation_id": each.reservation_id, "product_id": product_id, "quantity": quantity}
        for each in new
        for product_id, quantity in each.items.items()
    ]
    await work.write_each(_INSERT_ITEM, items)


def _sums(level: Level) -> dict[str, Any]:
    return {name: getattr(level, name) for name in _SUMS}


def _new_row(each: Reservation) -> dict[str, Any]:
    return {
        name: getattr(each, name) for name in ("reservation_id", "status", "expires_at", "created_at", "updated_at")
    }


def _changed_row(each: Reservation) -> dict[str, Any]:
    return {
        "key": each.reservation_id,
        "status": each.status,
        "expires_at": each.expires_at,
        "updated_at": each.updated_at,
    }


def _key(row: Mapping[str, Any]) -> str:
    return str(row["key"])


def _padded(values: list[T]) -> list[T]:
    """Return `values` padded to a power of two by repeating the last one.

    Each list length needs a prepared statement of its own; padding leaves a dozen.
    """
    return values + values[-1:] * ((1 << (len(values) - 1).bit_length()) - len(values))
