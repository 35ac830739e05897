"""Invariants of stock hold for any sequence of changes."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from portico.contracts.catalog import ProductId, ReservationId
from portico.kit.foundation.problems import Problem
from portico.services.catalog.stock.domain import HOLDING, ON_HAND, RESERVED, Entry, Level, StockBatch

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
PRODUCTS = [ProductId(f"prod_{number:026d}") for number in range(3)]
RESERVATIONS = [ReservationId(f"rsv_{number:026d}") for number in range(4)]

Step = tuple[str, Callable[[StockBatch], Any]]

_items = st.dictionaries(st.sampled_from(PRODUCTS), st.integers(1, 6), min_size=1)
_durations = st.integers(1, 3).map(lambda hours: timedelta(hours=hours))


def _adjust(product_id: ProductId, quantity: int) -> Callable[[StockBatch], None]:
    def adjust(batch: StockBatch) -> None:
        entry = batch.levels[product_id].record("adjustment", quantity, now=batch.now, actor="keeper")
        batch.entries.append(entry)

    return adjust


def _advance(hours: int) -> Callable[[StockBatch], None]:
    def advance(batch: StockBatch) -> None:
        batch.now += timedelta(hours=hours)

    return advance


def _delete(product_id: ProductId) -> Callable[[StockBatch], None]:
    def delete(batch: StockBatch) -> None:
        batch.levels[product_id].closed_at = batch.now

    return delete


_of_one = st.sampled_from(
    [StockBatch.confirm, StockBatch.release, StockBatch.expire, StockBatch.ship, StockBatch.return_items]
)
_steps = st.one_of(
    st.builds(
        lambda key, items, lasting: lambda batch: batch.reserve(key, items, lasting=lasting, actor="orders"),
        st.sampled_from(RESERVATIONS),
        _items,
        _durations,
    ),
    st.builds(
        lambda method, key: lambda batch: method(batch, key, actor="orders"), _of_one, st.sampled_from(RESERVATIONS)
    ),
    st.builds(_adjust, st.sampled_from(PRODUCTS), st.integers(-8, 8).filter(bool)),
    st.builds(_advance, st.integers(0, 3)),
    st.builds(_delete, st.sampled_from(PRODUCTS[:1])),
)


def _new_batch() -> StockBatch:
    levels = {product_id: Level(product_id) for product_id in PRODUCTS}
    receipts = [level.record("receipt", 10, now=NOW, actor="keeper") for level in levels.values()]
    return StockBatch(levels, {}, NOW, receipts)


def _state(batch: StockBatch) -> object:
    levels = [(level.on_hand, level.reserved, level.entries) for level in batch.levels.values()]
    held = [(each.status, each.items, each.expires_at) for each in batch.reservations.values()]
    return levels, held, len(batch.entries)


def _assert_invariants(batch: StockBatch) -> None:
    for product_id, level in batch.levels.items():
        entries = [entry for entry in batch.entries if entry.product_id == product_id]
        assert 0 <= level.reserved <= level.on_hand
        assert level.on_hand == sum(entry.quantity for entry in entries if entry.kind in ON_HAND)
        assert level.reserved == sum(entry.quantity for entry in entries if entry.kind in RESERVED)
        assert level.reserved == sum(
            each.items.get(product_id, 0) for each in batch.reservations.values() if each.status in HOLDING
        )
        assert [entry.number for entry in entries] == list(range(1, level.entries + 1))
        assert [entry.created_at for entry in entries] == sorted(entry.created_at for entry in entries)
        _assert_running_sums(entries)


def _assert_running_sums(entries: list[Entry]) -> None:
    on_hand = reserved = 0
    for entry in entries:
        on_hand += entry.quantity if entry.kind in ON_HAND else 0
        reserved += entry.quantity if entry.kind in RESERVED else 0
        assert (entry.on_hand_after, entry.reserved_after) == (on_hand, reserved)


class TestAnySequenceOfChanges:
    @settings(deadline=None)
    @given(st.lists(_steps, max_size=40))
    def test_keeps_levels_equal_to_the_sums_of_ledger_and_reservations(
        self, steps: list[Callable[[StockBatch], Any]]
    ) -> None:
        batch = _new_batch()
        for step in steps:
            before = _state(batch)
            try:
                step(batch)
            except Problem:
                assert _state(batch) == before, "a rejected change has no effect"
            _assert_invariants(batch)

    @settings(deadline=None)
    @given(st.lists(_steps, max_size=30), _of_one, st.sampled_from(RESERVATIONS))
    def test_repeated_changes_have_no_effect(
        self, steps: list[Callable[[StockBatch], Any]], method: Callable[..., Any], key: ReservationId
    ) -> None:
        batch = _new_batch()
        for step in [*steps, lambda batch: method(batch, key, actor="orders")]:
            with suppress(Problem):
                step(batch)
        before = _state(batch)

        with suppress(Problem):
            method(batch, key, actor="orders")

        assert _state(batch) == before
