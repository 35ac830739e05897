import asyncio
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect
from tests.examples.loans import service

from portico.kit.data.engine import Database
from portico.kit.data.migrations import (
    KIT_HISTORY,
    MigrationSet,
    NotMigrated,
    downgrade,
    migration_sets_of,
    require_current,
    status,
    upgrade,
)
from portico.kit.data.migrations.alembic_runner import revisions, scripts_of
from portico.kit.data.provisioning import ensure_database
from portico.kit.settings import Settings, database_for
from portico.testing.databases import Databases

ROOT = Path(__file__).parents[3]
LINES = migration_sets_of("loans", service.migrations, service.tables)

EVERY_REVISION = [script.revision for line in LINES for script in revisions(line)]


def address_of(databases: Databases) -> str:
    url = database_for(Settings(database_url=databases.per_service()), "loans").url
    return url.render_as_string(hide_password=False)


async def _empty(databases: Databases, name: str = "loans") -> Database:
    address = database_for(Settings(database_url=databases.per_service()), name)
    await ensure_database(address.url, address.schema)
    return Database.connect(address.url, schema=address.schema)


MIGRATED = """
import asyncio, sys
from sqlalchemy import make_url
from portico.kit.data.engine import Database
from portico.kit.data.migrations import migration_sets_of, require_current, upgrade
from tests.examples.loans import service

async def start():
    database = Database.connect(make_url(sys.argv[1]))
    lines = migration_sets_of("loans", service.migrations, service.tables)
    done = await upgrade(database, lines)
    await require_current(database, lines)
    await database.aclose()
    return done

print(asyncio.run(start()), "alembic" in sys.modules)
"""


class TestHead:
    @pytest.mark.parametrize("history", LINES, ids=lambda history: history.name)
    def test_it_is_that_of_alembic(self, history: MigrationSet) -> None:
        assert history.head == scripts_of(history).get_current_head()


class TestUpgrade:
    async def test_a_migrated_database_does_not_need_alembic(self, sqlite_databases: Databases) -> None:
        database = await _empty(sqlite_databases)
        await upgrade(database, LINES)
        await database.aclose()
        address = address_of(sqlite_databases)

        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", MIGRATED, address, stdout=asyncio.subprocess.PIPE, cwd=ROOT
        )

        assert (await process.communicate())[0].decode().strip() == "[] False"

    async def test_creates_every_table_once(self, databases: Databases) -> None:
        database = await _empty(databases)
        first = await upgrade(database, LINES)
        again = await upgrade(database, LINES)
        async with database.reader.connect() as connection:
            tables = set(await connection.run_sync(lambda sync: inspect(sync).get_table_names()))
        await database.aclose()

        assert (first, again) == (EVERY_REVISION, [])
        assert {"books", "loans", "shelves", "leases", "idempotency_keys"} <= tables

    async def test_concurrent_processes_migrate_once(self, databases: Databases) -> None:
        await (await _empty(databases)).aclose()

        async def start() -> list[str]:
            database = await _empty(databases)
            try:
                return await upgrade(database, LINES)
            finally:
                await database.aclose()

        # Each loop stands for a process: locks within one loop do not apply between loops.
        done = await asyncio.gather(*(asyncio.to_thread(asyncio.run, start()) for _ in range(3)))

        assert sorted(map(len, done)) == [0, 0, len(EVERY_REVISION)]

    async def test_concurrent_services_of_one_process_get_their_own_tables(self, databases: Databases) -> None:
        several = [await _empty(databases, name) for name in ("loans", "twins", "shelves")]

        done = await asyncio.gather(*(upgrade(database, LINES) for database in several))

        for database in several:
            await require_current(database, LINES)
            await database.aclose()
        assert done == [EVERY_REVISION] * 3

    async def test_models_and_migrations_agree(self, databases: Databases) -> None:
        database = await _empty(databases)
        await upgrade(database, LINES)

        def differences(connection: Connection) -> list[object]:
            found: list[object] = []
            for line in LINES:
                own = set(line.tables.tables)
                context = MigrationContext.configure(
                    connection,
                    opts={
                        "compare_type": True,
                        "include_name": lambda name, kind, _p, own=own: kind != "table" or name in own,
                    },
                )
                found.extend(compare_metadata(context, line.tables))
            return found

        async with database.reader.connect() as connection:
            different = await connection.run_sync(differences)
        await database.aclose()
        assert different == []

    async def test_a_downgrade_can_be_upgraded_again(self, databases: Databases) -> None:
        database = await _empty(databases)
        await upgrade(database, LINES)
        undone = await downgrade(database, LINES[1], "base")
        pending = [line.pending for line in await status(database, LINES)]
        done = await upgrade(database, LINES)
        await database.aclose()

        assert (undone, pending, done) == (["0002", "0001"], [(), ("0001", "0002")], ["0001", "0002"])


class TestRequireCurrent:
    async def test_rejects_a_database_that_is_not_migrated(self, databases: Databases) -> None:
        database = await _empty(databases)
        with pytest.raises(NotMigrated, match="'portico' in the database of loans are at nothing"):
            await require_current(database, LINES)
        await database.aclose()


def test_the_kit_has_a_history_of_its_own() -> None:
    assert KIT_HISTORY.version_table == "portico_version"
