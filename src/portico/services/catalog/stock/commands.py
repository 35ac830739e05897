from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from portico.contracts.catalog import InventoryLow, InventoryUpdated, ProductId, ReservationId, StockKind
from portico.kit import Problem, UnitOfWork
from portico.services.catalog.products.errors import ProductNotFound
from portico.services.catalog.products.models import PRODUCTS, TOTALS, Product
from portico.services.catalog.stock.domain import Entry, Level, Reservation, StockBatch
from portico.services.catalog.stock.repository import (
    add_levels,
    close_books,
    enter,
    levels,
    load_batch,
    put_levels,
    show,
)


@dataclass(frozen=True, slots=True)
class Change:
    """What somebody wants of a reservation. `act` does it in books that have it, and the `products` that it names."""

    reservation_id: ReservationId
    act: Callable[[StockBatch], Reservation]
    products: Collection[ProductId] = ()


async def change_reservations(
    work: UnitOfWork, changes: Sequence[Change], *, low: int
) -> Sequence[Reservation | Problem]:
    """Carry out `changes` one after the other: for each, in order, the reservation as it is then, or why not.

    `low` is what a product falls to, or below, when its stock is low.
    """
    books = await load_batch(
        work,
        reservations={change.reservation_id for change in changes},
        products={product_id for change in changes for product_id in change.products},
    )
    before = _available(books.levels.values())
    outcomes = [_outcome(change, books) for change in changes]
    await close_books(work, books)
    await _tell(work, books.entries, books.levels, before, low=low)
    return outcomes


async def adjust_stock(
    work: UnitOfWork, product_id: ProductId, quantity: int, *, reason: str, note: str | None, actor: str, low: int
) -> Entry:
    """Book that there is more of a product, or less, than was known.

    Raises:
        ProductNotFound: there is no such product.
        InsufficientStock: less would be left than is reserved.
        TooMuchStock: more would be there than can be counted.
    """
    found = await levels(work, [product_id])
    level = found.get(product_id)
    if level is None or level.closed_at is not None:
        raise ProductNotFound(product_id=product_id)
    before = _available([level])
    entry = level.enter("adjustment", quantity, now=work.now, actor=actor, reason=reason, note=note)
    await enter(work, [entry])
    await put_levels(work, [level])
    await _tell(work, [entry], found, before, low=low)
    return entry


async def open_stock(work: UnitOfWork, products: Iterable[Product], *, actor: str) -> None:
    """Begin the ledgers of new products: what they are made with is their first receipt."""
    new: dict[ProductId, Level] = {}
    entries: list[Entry] = []
    for product in products:
        level = new[product.product_id] = Level(product.product_id, updated_at=work.now)
        if product.stock_quantity:
            entries.append(level.enter("receipt", product.stock_quantity, now=work.now, actor=actor))
    await add_levels(work, new.values())
    await enter(work, entries)
    _publish(work, entries, new)


async def close_stock(work: UnitOfWork, product_id: ProductId) -> None:
    """Have nothing more of a product reserved, which is to be deleted. To be called before its row is locked."""
    for level in (await levels(work, [product_id])).values():
        level.closed_at = work.now
        await put_levels(work, [level])


def _outcome(change: Change, books: StockBatch) -> Reservation | Problem:
    try:
        return replace(change.act(books))  # as it is now: a later change may be about the same one
    except Problem as problem:
        return problem


def _available(some: Iterable[Level]) -> dict[ProductId, int]:
    return {level.product_id: level.available for level in some}


async def _tell(
    work: UnitOfWork,
    entries: Sequence[Entry],
    now: Mapping[ProductId, Level],
    before: Mapping[ProductId, int],
    *,
    low: int,
) -> None:
    """Tell of what `entries` made of the levels: the products, the kept answers, and whoever listens."""
    _publish(work, entries, now)
    moved = [now[product_id] for product_id in sorted({entry.product_id for entry in entries})]
    moved = [level for level in moved if level.available != before[level.product_id]]
    await show(work, moved)
    for level in moved:
        work.invalidate(PRODUCTS)
        if (level.available > 0) != (before[level.product_id] > 0):
            work.invalidate(TOTALS)
        if level.available <= low < before[level.product_id]:
            work.publish(InventoryLow(product_id=level.product_id, available=level.available, threshold=low))


def _publish(work: UnitOfWork, entries: Sequence[Entry], now: Mapping[ProductId, Level]) -> None:
    """One event for each product that has new entries."""
    kinds: defaultdict[ProductId, dict[StockKind, None]] = defaultdict(dict)
    for entry in entries:
        kinds[entry.product_id][entry.kind] = None
    for product_id, some in kinds.items():
        level = now[product_id]
        work.publish(
            InventoryUpdated(
                product_id=product_id,
                on_hand=level.on_hand,
                reserved=level.reserved,
                available=level.available,
                kinds=list(some),
                number=level.entries,
            )
        )
