from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect

from portico.kit.data.migrating import History, downgrade
from portico.kit.testing.running import RunningService
from portico.services.payments import service


class TestMigrations:
    async def test_make_the_tables_of_the_models(self, payments: RunningService) -> None:
        def differences(connection: Connection) -> list[object]:
            own = service.tables.tables

            def ours(_item: object, name: str | None, kind: str, _reflected: bool, _other: object) -> bool:  # noqa: FBT001  Alembic calls it so
                return kind != "table" or name in own

            options = {"compare_type": True, "include_object": ours}
            return list(compare_metadata(MigrationContext.configure(connection, opts=options), service.tables))

        async with payments.running.database.writer.connect() as connection:
            assert await connection.run_sync(differences) == []

    async def test_can_be_undone(self, payments: RunningService) -> None:
        assert service.migrations is not None
        line = History("payments", service.migrations, service.tables)

        assert await downgrade(payments.running.database, line, "base") == ["0001"]

        async with payments.running.database.writer.connect() as connection:
            left = await connection.run_sync(lambda sync: set(inspect(sync).get_table_names()))
        assert not left & set(service.tables.tables)
