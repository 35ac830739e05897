"""Invariants of stock, checked by the drill and by operators."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import case, func, literal, or_, select

from portico.kit import Reader
from portico.services.catalog.stock.domain import HOLDING, ON_HAND, RESERVED
from portico.services.catalog.stock.repository import ITEMS, LEDGER, LEVELS, PRODUCTS, RESERVATIONS

_MAX_MISMATCHES = 100


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Two figures of a product that should be equal but differ."""

    product_id: str
    what: str
    found: int | None
    expected: int | None


async def mismatches(reader: Reader) -> Sequence[Mismatch]:
    """Check the invariants of stock. Return up to a hundred mismatches of each kind.

    Levels are the sums of the ledger; nothing is negative; no more is reserved than on hand; reserved stock equals the
    open reservations; products show the available stock.
    """
    wrong: list[Mismatch] = []
    async with reader.snapshot() as moment:
        for what, statement in _INVARIANTS.items():
            rows = await moment.rows(statement.limit(_MAX_MISMATCHES))
            wrong += [Mismatch(row.product_id, what, row.found, row.expected) for row in rows]
    return wrong


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
    missing = select(
        PRODUCTS.c.product_id, PRODUCTS.c.stock_quantity.label("found"), literal(None).label("expected")
    ).select_from(PRODUCTS.outerjoin(LEVELS, PRODUCTS.c.product_id == LEVELS.c.product_id))
    return {
        "on_hand is the sum of the ledger": _compared(LEVELS.c.on_hand, func.coalesce(sums.c.on_hand, 0), with_sums),
        "reserved is the sum of the ledger": _compared(LEVELS.c.reserved, func.coalesce(sums.c.reserved, 0), with_sums),
        "the number of entries matches the ledger": _compared(
            LEVELS.c.entries, func.coalesce(sums.c.entries, 0), with_sums
        ),
        "entries are numbered without gaps": _compared(LEVELS.c.entries, func.coalesce(sums.c.last, 0), with_sums),
        "the last entry shows on_hand": _compared(LEVELS.c.on_hand, LEDGER.c.on_hand_after, last),
        "the last entry shows reserved": _compared(LEVELS.c.reserved, LEDGER.c.reserved_after, last),
        "reserved equals the open reservations": _compared(
            LEVELS.c.reserved, func.coalesce(held.c.quantity, 0), with_held
        ),
        "nothing is negative": negative.where(or_(LEVELS.c.on_hand < 0, LEVELS.c.reserved < 0, available < 0)),
        "products show the available stock": _compared(PRODUCTS.c.stock_quantity, available, shown),
        "every product has a level": missing.where(LEVELS.c.product_id.is_(None)),
    }


_INVARIANTS = _invariants()
