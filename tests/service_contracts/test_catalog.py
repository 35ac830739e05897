from datetime import timedelta
from decimal import Decimal

import pytest
from tests.services.catalog.support import create_product

from portico.contracts.catalog import CatalogClient, ProductId, ReservationId
from portico.kit.calls.client import Calls
from portico.kit.calls.errors import Refused
from portico.services.catalog import service
from portico.testing.databases import Databases
from portico.testing.running_service import RunningService, run_service


def _orders(catalog: RunningService) -> CatalogClient:
    """Return the client as used by the service orders."""
    return Calls(catalog.channel, identity=catalog.issuer.token("service:orders"))(CatalogClient)


class TestCatalogClient:
    async def test_reads_one_and_several(self, sqlite_databases: Databases) -> None:
        async with run_service(service, sqlite_databases) as catalog:
            made = [await create_product(catalog, price=9.99, stock_quantity=2) for _ in range(3)]
            ids = [ProductId(product["product_id"]) for product in made]
            client = Calls(catalog.channel)(CatalogClient)

            one = await client.product(ids[0])
            several = await client.products([ids[2], ids[0], ids[2], ProductId.new()])

        assert (one.sku, one.price, one.stock_quantity) == (made[0]["sku"], Decimal("9.99"), 2)
        assert {key: product.sku for key, product in several.items()} == {
            ids[0]: made[0]["sku"],
            ids[2]: made[2]["sku"],
        }

    async def test_splits_many_ids_into_several_requests(self, sqlite_databases: Databases) -> None:
        async with run_service(service, sqlite_databases) as catalog:
            product = await create_product(catalog)
            wanted = [ProductId.new() for _ in range(150)] + [ProductId(product["product_id"])]

            assert list(await Calls(catalog.channel)(CatalogClient).products(wanted)) == [product["product_id"]]

    async def test_leaves_out_unknown_products(self, sqlite_databases: Databases) -> None:
        async with run_service(service, sqlite_databases) as catalog:
            with pytest.raises(Refused) as refused:
                await Calls(catalog.channel)(CatalogClient).product(ProductId.new())

        assert refused.value.status == 404


class TestReservations:
    async def test_are_confirmed_shipped_and_returned(self, sqlite_databases: Databases) -> None:
        async with run_service(service, sqlite_databases) as catalog:
            product_id = ProductId((await create_product(catalog, stock_quantity=5))["product_id"])
            client = _orders(catalog)
            reservation_id = ReservationId.new()

            reserved = await client.reserve(reservation_id, {product_id: 2}, expires_in=60)
            steps = [await step(reservation_id) for step in (client.confirm, client.ship, client.return_)]

        assert (reserved.status, reserved.items[0].quantity) == ("reserved", 2)
        assert reserved.expires_at == catalog.clock.now() + timedelta(seconds=60)
        assert [step.status for step in steps] == ["confirmed", "shipped", "returned"]

    async def test_are_refused_with_the_missing_items(self, sqlite_databases: Databases) -> None:
        async with run_service(service, sqlite_databases) as catalog:
            product_id = ProductId((await create_product(catalog, stock_quantity=1))["product_id"])
            client = _orders(catalog)
            with pytest.raises(Refused) as short:
                await client.reserve(ReservationId.new(), {product_id: 2})

        assert (short.value.status, short.value.code) == (409, "insufficient_stock")
        assert short.value.problem["items"] == [{"product_id": product_id, "requested": 2, "available": 1}]

    async def test_are_refused_after_an_earlier_release(self, sqlite_databases: Databases) -> None:
        async with run_service(service, sqlite_databases) as catalog:
            product_id = ProductId((await create_product(catalog, stock_quantity=1))["product_id"])
            client = _orders(catalog)
            reservation_id = ReservationId.new()
            await client.release(reservation_id)
            await client.release(reservation_id)
            with pytest.raises(Refused) as late:
                await client.reserve(reservation_id, {product_id: 1})

        assert late.value.code == "reservation_released"
