from decimal import Decimal

import pytest
from tests.services.catalog.goods import add

from portico.contracts.catalog import CatalogClient, ProductId
from portico.kit.calls.client import Calls
from portico.kit.calls.errors import Refused
from portico.kit.testing.databases import Databases
from portico.kit.testing.running import running
from portico.services.catalog import service


class TestCatalogClient:
    async def test_reads_one_and_several(self, sqlite_databases: Databases) -> None:
        async with running(service, sqlite_databases) as catalog:
            made = [await add(catalog, price=9.99, stock_quantity=2) for _ in range(3)]
            ids = [ProductId(product["product_id"]) for product in made]
            client = Calls(catalog.channel)(CatalogClient)

            one = await client.product(ids[0])
            several = await client.products([ids[2], ids[0], ids[2], ProductId.new()])

        assert (one.sku, one.price, one.stock_quantity) == (made[0]["sku"], Decimal("9.99"), 2)
        assert {key: product.sku for key, product in several.items()} == {
            ids[0]: made[0]["sku"],
            ids[2]: made[2]["sku"],
        }

    async def test_asks_for_many_in_parts(self, sqlite_databases: Databases) -> None:
        async with running(service, sqlite_databases) as catalog:
            product = await add(catalog)
            wanted = [ProductId.new() for _ in range(150)] + [ProductId(product["product_id"])]

            assert list(await Calls(catalog.channel)(CatalogClient).products(wanted)) == [product["product_id"]]

    async def test_says_what_there_is_not(self, sqlite_databases: Databases) -> None:
        async with running(service, sqlite_databases) as catalog:
            with pytest.raises(Refused) as refused:
                await Calls(catalog.channel)(CatalogClient).product(ProductId.new())

        assert refused.value.status == 404
