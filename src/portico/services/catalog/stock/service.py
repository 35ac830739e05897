"""Use cases of stock."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from portico.contracts.catalog import InventoryLow, InventoryUpdated, ProductId, ReservationId, StockKind
from portico.kit import Problem, UnitOfWork
from portico.services.catalog.errors import ProductNotFound
from portico.services.catalog.models import PRODUCTS, TOTALS, Product
from portico.services.catalog.stock.domain import Entry, Level, Reservation, StockBatch
from portico.services.catalog.stock.repository import (
    insert_entries,
    insert_levels,
    levels,
    load_batch,
    save_batch,
    update_levels,
    update_products,
)


@dataclass(frozen=True, slots=True)
class Change:
    """A requested change of a reservation. `act` applies it to a batch that has its reservation and `products`."""

    reservation_id: ReservationId
    act: Callable[[StockBatch], Reservation]
    products: Collection[ProductId] = ()


async def change_reservations(
    work: UnitOfWork, changes: Sequence[Change], *, low: int
) -> Sequence[Reservation | Problem]:
    """Apply `changes` in order. Return for each the reservation or the problem.

    `low` is the available quantity at or below which `inventory.low` is published.
    """
    batch = await load_batch(
        work,
        reservations={change.reservation_id for change in changes},
        products={product_id for change in changes for product_id in change.products},
    )
    before = _available(batch.levels.values())
    outcomes = [_outcome(change, batch) for change in changes]
    await save_batch(work, batch)
    await _publish_changes(work, batch.entries, batch.levels, before, low=low)
    return outcomes


async def adjust_stock(
    work: UnitOfWork, product_id: ProductId, quantity: int, *, reason: str, note: str | None, actor: str, low: int
) -> Entry:
    """Adjust the stock of a product by `quantity`, up or down.

    Raises:
        ProductNotFound: the product does not exist.
        InsufficientStock: less would be left than is reserved.
        TooMuchStock: the stock would exceed its limit.
    """
    found = await levels(work, [product_id])
    level = found.get(product_id)
    if level is None or level.closed_at is not None:
        raise ProductNotFound(product_id=product_id)
    before = _available([level])
    entry = level.record("adjustment", quantity, now=work.now, actor=actor, reason=reason, note=note)
    await insert_entries(work, [entry])
    await update_levels(work, [level])
    await _publish_changes(work, [entry], found, before, low=low)
    return entry


async def open_stock(work: UnitOfWork, products: Iterable[Product], *, actor: str) -> None:
    """Open the ledgers of new products; the initial stock is the first receipt."""
    new: dict[ProductId, Level] = {}
    entries: list[Entry] = []
    for product in products:
        level = new[product.product_id] = Level(product.product_id, updated_at=work.now)
        if product.stock_quantity:
            entries.append(level.record("receipt", product.stock_quantity, now=work.now, actor=actor))
    await insert_levels(work, new.values())
    await insert_entries(work, entries)
    _publish(work, entries, new)


async def close_stock(work: UnitOfWork, product_id: ProductId) -> None:
    """Close the stock of a product that is being deleted. Call this before locking the product's row."""
    for level in (await levels(work, [product_id])).values():
        level.closed_at = work.now
        await update_levels(work, [level])


def _outcome(change: Change, batch: StockBatch) -> Reservation | Problem:
    try:
        return replace(change.act(batch))  # a copy: a later change of the batch may concern the same reservation
    except Problem as problem:
        return problem


def _available(some: Iterable[Level]) -> dict[ProductId, int]:
    return {level.product_id: level.available for level in some}


async def _publish_changes(
    work: UnitOfWork,
    entries: Sequence[Entry],
    now: Mapping[ProductId, Level],
    before: Mapping[ProductId, int],
    *,
    low: int,
) -> None:
    """Update the products, invalidate cached responses and publish the events for `entries`."""
    _publish(work, entries, now)
    changed = [now[product_id] for product_id in sorted({entry.product_id for entry in entries})]
    changed = [level for level in changed if level.available != before[level.product_id]]
    await update_products(work, changed)
    for level in changed:
        work.invalidate(PRODUCTS)
        if (level.available > 0) != (before[level.product_id] > 0):
            work.invalidate(TOTALS)
        if level.available <= low < before[level.product_id]:
            work.publish(InventoryLow(product_id=level.product_id, available=level.available, threshold=low))


def _publish(work: UnitOfWork, entries: Sequence[Entry], now: Mapping[ProductId, Level]) -> None:
    """Publish one event for each product with new entries."""
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
