import asyncio
from collections import Counter
from collections.abc import Iterable
from typing import Any

from tests.services.catalog.stock.support import (
    adjust,
    apply_changes,
    create_reservation,
    create_stocked_product,
    reserve,
)
from tests.services.catalog.support import editor, product_body

from portico.contracts.catalog import (
    InventoryLow,
    InventoryUpdated,
    ProductCreated,
    ProductDeleted,
    ProductUpdated,
)
from portico.kit.messaging.event import Event
from portico.services.catalog import service
from portico.testing.databases import Databases
from portico.testing.running_service import RunningService, run_service


def contents(events: Iterable[Event]) -> list[tuple[str, dict[str, Any]]]:
    """Return the type and fields of each event, without its id."""
    return [(event.event_type, event.model_dump()) for event in events]


async def published(catalog: RunningService, *kinds: type[Event]) -> list[Event]:
    return [event for event in await catalog.published() if isinstance(event, kinds)]


class TestProductEvents:
    async def test_are_published_for_creation_change_and_deletion(self, catalog: RunningService) -> None:
        product_id = await create_stocked_product(catalog, 0, sku="BX-1", name="Lamp", price=9.5, category="home")
        path = f"/products/{product_id}"
        await editor(catalog).patch(path, json={"name": "Torch"})
        await editor(catalog).patch(path, json={"name": "Torch"})
        await editor(catalog).delete(path)

        events = await catalog.published()

        same = {"product_id": product_id, "sku": "BX-1", "category": "home", "price": 9.5, "currency": "USD"}
        assert contents(events) == contents(
            [
                ProductCreated.model_validate({**same, "name": "Lamp"}),
                ProductUpdated.model_validate({**same, "name": "Torch"}),
                ProductDeleted(product_id=product_id, sku="BX-1"),
            ]
        )

    async def test_are_published_for_the_stored_items_of_a_batch(self, embedded: RunningService) -> None:
        items = [product_body(sku="A", stock_quantity=1), product_body(sku="B"), product_body(sku="A"), {"name": ""}]
        await editor(embedded).post("/products/batch", json=items)

        events = await embedded.published()

        assert Counter(type(event) for event in events) == {ProductCreated: 2, InventoryUpdated: 1}


class TestInventoryUpdated:
    async def test_has_the_levels_and_the_kinds_of_change(self, catalog: RunningService) -> None:
        product_id = await create_stocked_product(catalog, 50)
        reservation_id = await create_reservation(catalog, {product_id: 2})
        await apply_changes(catalog, reservation_id, "confirm", "ship", "return")
        await adjust(catalog, product_id, -1)

        events = await published(catalog, InventoryUpdated)

        expected = [
            (50, 0, 50, ["receipt"]),
            (50, 2, 48, ["reservation"]),
            (48, 0, 48, ["shipment"]),
            (50, 0, 50, ["return"]),
            (49, 0, 49, ["adjustment"]),
        ]
        assert contents(events) == contents(
            InventoryUpdated.model_validate(
                {
                    "product_id": product_id,
                    "on_hand": on_hand,
                    "reserved": reserved,
                    "available": available,
                    "kinds": kinds,
                    "number": number,
                }
            )
            for number, (on_hand, reserved, available, kinds) in enumerate(expected, 1)
        )

    async def test_is_published_once_per_commit(self, embedded: RunningService) -> None:
        product_id = await create_stocked_product(embedded, 100)

        await asyncio.gather(*(reserve(embedded, {product_id: 1}) for _ in range(100)))

        events = [event for event in await published(embedded, InventoryUpdated) if isinstance(event, InventoryUpdated)]
        assert len(events) < 50
        assert (events[-1].reserved, events[-1].number) == (100, 101)
        assert [event.number for event in events] == sorted(event.number for event in events)

    async def test_is_not_published_without_a_change(self, embedded: RunningService) -> None:
        product_id = await create_stocked_product(embedded, 1)
        await reserve(embedded, {product_id: 2})
        await adjust(embedded, product_id, -2)

        assert len(await published(embedded, InventoryUpdated)) == 1


class TestInventoryLow:
    async def test_is_published_once_each_time_stock_falls_to_the_threshold(self, catalog: RunningService) -> None:
        product_id = await create_stocked_product(catalog, 12)
        first = await create_reservation(catalog, {product_id: 1})
        await create_reservation(catalog, {product_id: 1})
        await create_reservation(catalog, {product_id: 1})
        await apply_changes(catalog, first, "release")
        await adjust(catalog, product_id, 5)
        await adjust(catalog, product_id, -15)

        assert contents(await published(catalog, InventoryLow)) == contents(
            [
                InventoryLow(product_id=product_id, available=10, threshold=10),
                InventoryLow(product_id=product_id, available=0, threshold=10),
            ]
        )

    async def test_uses_the_configured_threshold(self, sqlite_databases: Databases) -> None:
        async with run_service(service, sqlite_databases, variables={"CATALOG_LOW_STOCK_THRESHOLD": "2"}) as catalog:
            product_id = await create_stocked_product(catalog, 5)
            await create_reservation(catalog, {product_id: 2})
            await create_reservation(catalog, {product_id: 1})

            low = contents(await published(catalog, InventoryLow))

        assert low == contents([InventoryLow(product_id=product_id, available=2, threshold=2)])
