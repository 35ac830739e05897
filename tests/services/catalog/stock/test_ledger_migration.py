from tests.services.catalog.stock.support import (
    assert_no_mismatches,
    create_reservation,
    create_stocked_product,
    read_ledger,
    read_level,
)

from portico.kit.data.migrations import MigrationSet, downgrade, upgrade
from portico.services.catalog import service
from portico.testing.running_service import RunningService


async def test_migration_to_the_ledger_keeps_the_stock_of_existing_products(catalog: RunningService) -> None:
    stocked_product, empty_product = await create_stocked_product(catalog, 7), await create_stocked_product(catalog, 0)
    database = catalog.context.database
    assert service.migrations is not None
    migrations = MigrationSet("catalog", service.migrations, service.tables)

    assert await downgrade(database, migrations, "0001") == ["0002"]
    assert await upgrade(database, [migrations]) == ["0002"]

    assert await read_ledger(catalog, stocked_product) == [("receipt", 7, 7, 0)]
    assert await read_level(catalog, empty_product) == (0, 0, 0)
    await create_reservation(catalog, {stocked_product: 7})
    await assert_no_mismatches(catalog)
