"""Mismatches of stock are detected, and constraints of the database reject some of them."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from tests.services.catalog.stock.support import apply_changes, create_reservation, create_stocked_product

from portico.services.catalog.stock.invariants import mismatches
from portico.testing.running_service import RunningService

TAMPERING = {
    "UPDATE stock_levels SET on_hand = on_hand + 1": {
        "on_hand is the sum of the ledger",
        "the last entry shows on_hand",
        "products show the available stock",
    },
    "UPDATE stock_levels SET reserved = reserved - 1": {
        "reserved is the sum of the ledger",
        "the last entry shows reserved",
        "reserved equals the open reservations",
        "products show the available stock",
    },
    "UPDATE stock_levels SET entries = entries + 1": {
        "the number of entries matches the ledger",
        "entries are numbered without gaps",
    },
    "DELETE FROM stock_transactions WHERE number = 1": {
        "on_hand is the sum of the ledger",
        "the number of entries matches the ledger",
    },
    "UPDATE stock_transactions SET quantity = 7 WHERE kind = 'receipt'": {"on_hand is the sum of the ledger"},
    "UPDATE stock_reservations SET status = 'released'": {"reserved equals the open reservations"},
    "UPDATE stock_reservation_items SET quantity = 1": {"reserved equals the open reservations"},
    "UPDATE products SET stock_quantity = 5": {"products show the available stock"},
    "DELETE FROM stock_levels": {"every product has a level"},
}


async def tamper(catalog: RunningService, statement: str) -> None:
    async with catalog.context.database.writer.begin() as connection:
        await connection.execute(text(statement))


class TestMismatches:
    @pytest.mark.parametrize("statement", TAMPERING)
    async def test_are_detected(self, statement: str, catalog: RunningService) -> None:
        product_id = await create_stocked_product(catalog, 5)
        await create_reservation(catalog, {product_id: 2})
        await tamper(catalog, statement)

        async with catalog.context.reader() as reader:
            found = await mismatches(reader)

        assert {each.what for each in found} == TAMPERING[statement]
        assert {each.product_id for each in found} == {product_id}

    async def test_report_actual_and_expected_values(self, embedded: RunningService) -> None:
        reservation_id = await create_reservation(embedded, {await create_stocked_product(embedded, 5): 2})
        await apply_changes(embedded, reservation_id, "confirm")
        await tamper(embedded, "UPDATE products SET stock_quantity = 9")

        async with embedded.context.reader() as reader:
            found = await mismatches(reader)

        assert [(each.found, each.expected) for each in found] == [(9, 3)]


class TestConstraints:
    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE stock_levels SET reserved = -1",
            "UPDATE stock_levels SET reserved = on_hand + 1",
            "UPDATE stock_levels SET on_hand = -1, reserved = -1",
            "UPDATE stock_transactions SET on_hand_after = -1",
        ],
    )
    async def test_reject_invalid_rows(self, statement: str, catalog: RunningService) -> None:
        await create_stocked_product(catalog, 5)

        with pytest.raises(DBAPIError):
            await tamper(catalog, statement)
