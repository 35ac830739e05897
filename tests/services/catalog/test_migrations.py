from tests.services.catalog.stock.shelves import assert_sound, figures, held, ledger, stocked

from portico.kit.data.migrations import MigrationSet, downgrade, upgrade
from portico.services.catalog import service
from portico.testing.migrations import differences, left_when_undone
from portico.testing.running_service import RunningService


class TestMigrations:
    async def test_make_the_tables_of_the_models(self, catalog: RunningService) -> None:
        assert await differences(catalog) == []

    async def test_can_be_undone(self, catalog: RunningService) -> None:
        assert await left_when_undone(catalog) == set()

    async def test_receive_the_stock_that_there_was(self, catalog: RunningService) -> None:
        some, none = await stocked(catalog, 7), await stocked(catalog, 0)
        database = catalog.context.database
        assert service.migrations is not None
        line = MigrationSet("catalog", service.migrations, service.tables)

        assert await downgrade(database, line, "0001") == ["0002"]
        assert await upgrade(database, [line]) == ["0002"]

        assert await ledger(catalog, some) == [("receipt", 7, 7, 0)]
        assert await figures(catalog, none) == (0, 0, 0)
        await held(catalog, {some: 7})
        await assert_sound(catalog)
