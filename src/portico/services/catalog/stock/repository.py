"""The SQL of stock. Rows are locked in one order everywhere: reservations, levels, products, each by id."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import bindparam, insert, select, update

from portico.contracts.catalog import ProductId, ReservationId
from portico.kit import UnitOfWork
from portico.kit.data import Statement
from portico.services.catalog.products.models import Product
from portico.services.catalog.stock.domain import Entry, Level, Reservation, StockBatch
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
_ENTER, _ADD_LEVEL, _RESERVE, _HOLD = map(Statement, map(insert, (LEDGER, LEVELS, RESERVATIONS, ITEMS)))
_CHANGED_LEVEL = Statement(
    update(LEVELS).where(LEVELS.c.product_id == bindparam("key")).values({name: bindparam(name) for name in _SUMS})
)
_SHOWN = Statement(
    update(PRODUCTS)
    .where(PRODUCTS.c.product_id == bindparam("key"))
    .values({name: bindparam(name) for name in ("stock_quantity", "stock_entries")})
)
_MOVED = Statement(
    update(RESERVATIONS)
    .where(RESERVATIONS.c.reservation_id == bindparam("key"))
    .values({name: bindparam(name) for name in ("status", "expires_at", "updated_at")})
)
_HELD_RESERVATIONS = (
    select(*RESERVATIONS.c)
    .where(RESERVATIONS.c.reservation_id.in_(bindparam("ids", expanding=True)))
    .order_by(RESERVATIONS.c.reservation_id)
    .with_for_update()
)
_HELD_ITEMS = (
    select(*ITEMS.c)
    .where(ITEMS.c.reservation_id.in_(bindparam("ids", expanding=True)))
    .order_by(ITEMS.c.reservation_id, ITEMS.c.product_id)
)
_HELD_LEVELS = (
    select(*LEVELS.c)
    .where(LEVELS.c.product_id.in_(bindparam("ids", expanding=True)))
    .order_by(LEVELS.c.product_id)
    .with_for_update()
)
"""All built once: that costs more than to run one."""

T = TypeVar("T")


async def load_batch(
    work: UnitOfWork, *, reservations: Collection[ReservationId] = (), products: Iterable[ProductId] = ()
) -> StockBatch:
    """What the database has of these reservations and products and of what is reserved by them, locked."""
    found = await _reservations(work, reservations)
    wanted = {*products, *(product_id for each in found.values() for product_id in each.items)}
    return StockBatch(await levels(work, wanted), found, work.now)


async def levels(work: UnitOfWork, product_ids: Collection[ProductId]) -> dict[ProductId, Level]:
    """The levels of these products, locked."""
    if not product_ids:
        return {}
    rows = await work.rows(_HELD_LEVELS, {"ids": _padded(sorted(product_ids))})
    return {row.product_id: Level(**row._mapping) for row in rows}  # noqa: SLF001  SQLAlchemy's public name for it


async def close_books(work: UnitOfWork, books: StockBatch) -> None:
    """Write what has become of the reservations and levels in `books`, and their entries."""
    changed = [each for each in books.reservations.values() if each.changed]
    await _put_reservations(work, [each for each in changed if not each.known])
    await work.write_each(_MOVED, sorted((_moved(each) for each in changed if each.known), key=_key))
    await enter(work, books.entries)
    await put_levels(work, [books.levels[key] for key in sorted({entry.product_id for entry in books.entries})])


async def enter(work: UnitOfWork, entries: Sequence[Entry]) -> None:
    """Add entries to the ledger; the levels that they made have to be written too."""
    await work.write_each(_ENTER, [entry._asdict() for entry in entries])


async def put_levels(work: UnitOfWork, changed: Iterable[Level]) -> None:
    """Write levels that are locked, in order of their ids."""
    await work.write_each(_CHANGED_LEVEL, [{"key": level.product_id, **_sums(level)} for level in changed])


async def show(work: UnitOfWork, changed: Iterable[Level]) -> None:
    """Have the products of these levels, in order of their ids, say what is available."""
    await work.write_each(
        _SHOWN,
        [
            {"key": level.product_id, "stock_quantity": level.available, "stock_entries": level.entries}
            for level in changed
        ],
    )


async def add_levels(work: UnitOfWork, new: Iterable[Level]) -> None:
    """Add the levels of new products."""
    await work.write_each(_ADD_LEVEL, [{"product_id": level.product_id, **_sums(level)} for level in new])


async def _reservations(
    work: UnitOfWork, reservation_ids: Collection[ReservationId]
) -> dict[ReservationId, Reservation]:
    if not reservation_ids:
        return {}
    rows = await work.rows(_HELD_RESERVATIONS, {"ids": _padded(sorted(reservation_ids))})
    if not rows:
        return {}
    items: defaultdict[ReservationId, dict[ProductId, int]] = defaultdict(dict)
    for item in await work.rows(_HELD_ITEMS, {"ids": _padded([row.reservation_id for row in rows])}):
        items[item.reservation_id][item.product_id] = item.quantity
    return {row.reservation_id: Reservation(**row._mapping, items=items[row.reservation_id]) for row in rows}  # noqa: SLF001  as above


async def _put_reservations(work: UnitOfWork, new: Sequence[Reservation]) -> None:
    rows = sorted((_made(each) for each in new), key=lambda row: str(row["reservation_id"]))
    await work.write_each(_RESERVE, rows)
    items = [
        {"reservation_id": each.reservation_id, "product_id": product_id, "quantity": quantity}
        for each in new
        for product_id, quantity in each.items.items()
    ]
    await work.write_each(_HOLD, items)


def _sums(level: Level) -> dict[str, Any]:
    return {name: getattr(level, name) for name in _SUMS}


def _made(each: Reservation) -> dict[str, Any]:
    return {
        name: getattr(each, name) for name in ("reservation_id", "status", "expires_at", "created_at", "updated_at")
    }


def _moved(each: Reservation) -> dict[str, Any]:
    return {
        "key": each.reservation_id,
        "status": each.status,
        "expires_at": each.expires_at,
        "updated_at": each.updated_at,
    }


def _key(row: Mapping[str, Any]) -> str:
    return str(row["key"])


def _padded(values: list[T]) -> list[T]:
    """`values`, the last one repeated up to a power of two.

    A statement over a list is another one for each length of the list; this leaves a dozen to be prepared.
    """
    return values + values[-1:] * ((1 << (len(values) - 1).bit_length()) - len(values))
