from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect
from tests.services.catalog.stock.shelves import assert_sound, figures, held, ledger, stocked

from portico.kit.data.migrating import History, downgrade, upgrade
from portico.kit.testing.running import RunningService
from portico.services.catalog import service


class TestMigrations:
    async def test_make_the_tables_of_the_models(self, catalog: RunningService) -> None:
        def differences(connection: Connection) -> list[object]:
            own = service.tables.tables

            def ours(_item: object, name: str | None, kind: str, _reflected: bool, _other: object) -> bool:  # noqa: FBT001  Alembic calls it so
                return kind != "table" or name in own

            options = {"compare_type": True, "include_object": ours}
            return list(compare_metadata(MigrationContext.configure(connection, opts=options), service.tables))

        async with catalog.running.database.writer.connect() as connection:
            assert await connection.run_sync(differences) == []

    async def test_can_be_undone(self, catalog: RunningService) -> None:
        assert service.migrations is not None
        line = History("catalog", service.migrations, service.tables)

        assert await downgrade(catalog.running.database, line, "base") == ["0002", "0001"]

        async with catalog.running.database.writer.connect() as connection:
            left = await connection.run_sync(lambda sync: set(inspect(sync).get_table_names()))
        assert not left & set(service.tables.tables)

    async def test_receive_the_stock_that_there_was(self, catalog: RunningService) -> None:
        some, none = await stocked(catalog, 7), await stocked(catalog, 0)
        database = catalog.running.database
        assert service.migrations is not None
        line = History("catalog", service.migrations, service.tables)

        assert await downgrade(database, line, "0001") == ["0002"]
        assert await upgrade(database, [line]) == ["0002"]

        assert await ledger(catalog, some) == [("receipt", 7, 7, 0)]
        assert await figures(catalog, none) == (0, 0, 0)
        await held(catalog, {some: 7})
        await assert_sound(catalog)
