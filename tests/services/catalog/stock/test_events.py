import asyncio
from collections import Counter
from collections.abc import Iterable
from typing import Any

from tests.services.catalog.goods import draft, editor
from tests.services.catalog.stock.shelves import adjust, changed, held, reserve, stocked

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
from portico.testing.running_service import RunningService, running


def said(events: Iterable[Event]) -> list[tuple[str, dict[str, Any]]]:
    """Type and fields of each; their identities are their own."""
    return [(event.event_type, event.model_dump()) for event in events]


async def told(catalog: RunningService, *kinds: type[Event]) -> list[Event]:
    return [event for event in await catalog.published() if isinstance(event, kinds)]


class TestProducts:
    async def test_are_told_of_from_beginning_to_end(self, catalog: RunningService) -> None:
        product_id = await stocked(catalog, 0, sku="BX-1", name="Lamp", price=9.5, category="home")
        path = f"/products/{product_id}"
        await editor(catalog).patch(path, json={"name": "Torch"})
        await editor(catalog).patch(path, json={"name": "Torch"})
        await editor(catalog).delete(path)

        events = await catalog.published()

        same = {"product_id": product_id, "sku": "BX-1", "category": "home", "price": 9.5, "currency": "USD"}
        assert said(events) == said(
            [
                ProductCreated.model_validate({**same, "name": "Lamp"}),
                ProductUpdated.model_validate({**same, "name": "Torch"}),
                ProductDeleted(product_id=product_id, sku="BX-1"),
            ]
        )

    async def test_of_a_batch_are_told_of_where_they_were_kept(self, embedded: RunningService) -> None:
        items = [draft(sku="A", stock_quantity=1), draft(sku="B"), draft(sku="A"), {"name": ""}]
        await editor(embedded).post("/products/batch", json=items)

        events = await embedded.published()

        assert Counter(type(event) for event in events) == {ProductCreated: 2, InventoryUpdated: 1}


class TestInventoryUpdated:
    async def test_says_how_it_is_and_why(self, catalog: RunningService) -> None:
        product_id = await stocked(catalog, 50)
        reservation_id = await held(catalog, {product_id: 2})
        await changed(catalog, reservation_id, "confirm", "ship", "return")
        await adjust(catalog, product_id, -1)

        events = await told(catalog, InventoryUpdated)

        expected = [
            (50, 0, 50, ["receipt"]),
            (50, 2, 48, ["reservation"]),
            (48, 0, 48, ["shipment"]),
            (50, 0, 50, ["return"]),
            (49, 0, 49, ["adjustment"]),
        ]
        assert said(events) == said(
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

    async def test_is_one_for_all_that_is_committed_together(self, embedded: RunningService) -> None:
        product_id = await stocked(embedded, 100)

        await asyncio.gather(*(reserve(embedded, {product_id: 1}) for _ in range(100)))

        events = [event for event in await told(embedded, InventoryUpdated) if isinstance(event, InventoryUpdated)]
        assert len(events) < 50
        assert (events[-1].reserved, events[-1].number) == (100, 101)
        assert [event.number for event in events] == sorted(event.number for event in events)

    async def test_is_not_for_what_changed_nothing(self, embedded: RunningService) -> None:
        product_id = await stocked(embedded, 1)
        await reserve(embedded, {product_id: 2})
        await adjust(embedded, product_id, -2)

        assert len(await told(embedded, InventoryUpdated)) == 1


class TestInventoryLow:
    async def test_is_told_once_each_time_it_falls(self, catalog: RunningService) -> None:
        product_id = await stocked(catalog, 12)
        first = await held(catalog, {product_id: 1})
        await held(catalog, {product_id: 1})
        await held(catalog, {product_id: 1})
        await changed(catalog, first, "release")
        await adjust(catalog, product_id, 5)
        await adjust(catalog, product_id, -15)

        assert said(await told(catalog, InventoryLow)) == said(
            [
                InventoryLow(product_id=product_id, available=10, threshold=10),
                InventoryLow(product_id=product_id, available=0, threshold=10),
            ]
        )

    async def test_is_told_by_the_threshold_that_is_set(self, sqlite_databases: Databases) -> None:
        async with running(service, sqlite_databases, variables={"CATALOG_LOW_STOCK_THRESHOLD": "2"}) as catalog:
            product_id = await stocked(catalog, 5)
            await held(catalog, {product_id: 2})
            await held(catalog, {product_id: 1})

            low = said(await told(catalog, InventoryLow))

        assert low == said([InventoryLow(product_id=product_id, available=2, threshold=2)])
