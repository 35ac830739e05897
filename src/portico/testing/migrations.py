"""Check that a service's migrations create the tables of its models, and drop them again."""

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect

from portico.kit.data.migrations import MigrationSet, downgrade
from portico.testing.running_service import RunningService


async def differences(service: RunningService) -> list[object]:
    """Return the differences between the migrated tables and the models, in Alembic's form."""
    declared = _history(service).tables

    def ours(_item: object, name: str | None, kind: str, _reflected: bool, _other: object) -> bool:  # noqa: FBT001  Alembic's signature
        return kind != "table" or name in declared.tables

    def compared(connection: Connection) -> list[object]:
        options = {"compare_type": True, "include_object": ours}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), declared))

    async with service.context.database.writer.connect() as connection:
        return await connection.run_sync(compared)


async def tables_after_downgrade(service: RunningService) -> set[str]:
    """Return the service's tables that remain after every migration is undone."""
    history, database = _history(service), service.context.database
    await downgrade(database, history, "base")
    async with database.writer.connect() as connection:
        names = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
    return {name for name in names if name in history.tables.tables}


def _history(service: RunningService) -> MigrationSet:
    """Return the service's migrations. Raises ValueError if it has no tables."""
    context = service.context
    migrations, tables = context.service.migrations, context.service.tables
    if migrations is None or tables is None:
        raise ValueError(f"{context.name} has no tables of its own")
    return MigrationSet(context.name, migrations, tables)
