"""Migrated databases for tests: copies of a template, which differ in no way from a migrated database."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection, MetaData, inspect, select
from tests.examples.loans import service as loans

from portico.kit.data.engine import Database
from portico.kit.data.migrations import upgrade
from portico.kit.runtime.databases import migration_sets, open_database
from portico.kit.runtime.system import Placement
from portico.kit.settings import Environment, Settings
from portico.servers import MariaDBServer, PostgreSQLServer, ServerFailed
from portico.testing.databases import Databases, ServerDatabases, SQLiteDatabases
from portico.testing.running_service import run_service, system_of
from portico.testing.server_connection import connection_to

REVIEWS = """
import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table("reviews", sa.Column("number", sa.Integer(), primary_key=True))
"""
PLACEMENT = system_of(loans).placement(loans.name)


@asynccontextmanager
async def opened(placement: Placement, address: str) -> AsyncIterator[Database]:
    settings = Environment({"DATABASE_URL": address, "DATABASE_CONNECT_TIMEOUT": "60"}).read(Settings)
    async with open_database(placement, settings) as database:
        yield database


def another(databases: Databases, folder: Path) -> Databases:
    """Return the databases of another test on the same server."""
    if isinstance(databases, ServerDatabases):
        return ServerDatabases(databases.server, prefix="another_")
    return SQLiteDatabases(folder / "another")


def contents(connection: Connection) -> dict[str, object]:
    """Return everything that migrations create: tables with columns, keys, indexes and checks, and their rows."""
    found = inspect(connection)
    tables = MetaData()
    tables.reflect(connection)
    return {
        table.name: (
            [str(column) for column in found.get_columns(table.name)],
            found.get_pk_constraint(table.name),
            sorted(map(str, found.get_foreign_keys(table.name))),
            sorted(map(str, found.get_indexes(table.name))),
            sorted(map(str, found.get_check_constraints(table.name))),
            connection.execute(select(table)).all(),
        )
        for table in tables.sorted_tables
    }


class TestAMigratedDatabase:
    async def test_has_what_the_migrations_create(self, databases: Databases) -> None:
        other = Placement(loans, "other", 1)
        await databases.create_migrated(PLACEMENT)

        async with opened(PLACEMENT, databases.per_service()) as database:
            assert await upgrade(database, migration_sets(PLACEMENT)) == []
            async with database.writer.connect() as connection:
                copied = await connection.run_sync(contents)
        async with opened(other, databases.per_service()) as database:
            assert await upgrade(database, migration_sets(PLACEMENT)) != []
            async with database.writer.connect() as connection:
                assert copied == await connection.run_sync(contents)

    async def test_is_created_once(self, databases: Databases) -> None:
        await databases.create_migrated(PLACEMENT)
        async with opened(PLACEMENT, databases.per_service()) as database, database.writer.begin() as connection:
            await connection.exec_driver_sql("CREATE TABLE reviews (number INTEGER)")

        await databases.create_migrated(PLACEMENT)

        async with opened(PLACEMENT, databases.per_service()) as database, database.writer.connect() as connection:
            assert await connection.run_sync(lambda sync: inspect(sync).has_table("reviews"))

    async def test_is_separate_from_its_template(self, databases: Databases, tmp_path: Path) -> None:
        await databases.create_migrated(PLACEMENT)
        async with opened(PLACEMENT, databases.per_service()) as database, database.writer.begin() as connection:
            await connection.exec_driver_sql("CREATE TABLE books_of_another_test (title VARCHAR(20))")

        others = another(databases, tmp_path)
        await others.create_migrated(PLACEMENT)

        async with opened(PLACEMENT, others.per_service()) as database, database.writer.connect() as connection:
            assert "books_of_another_test" not in await connection.run_sync(contents)
        if isinstance(others, ServerDatabases):
            others.drop()

    async def test_follows_its_scripts(
        self, sqlite_databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await sqlite_databases.create_migrated(PLACEMENT)
        versions = tmp_path / "copied" / "migrations" / "versions"
        shutil.copytree(str(loans.migrations), versions.parent)
        (tmp_path / "copied" / "__init__.py").touch()
        monkeypatch.syspath_prepend(tmp_path)
        changed = Placement(replace(loans, module="copied"), loans.name, 1)
        others = another(sqlite_databases, tmp_path)
        (versions / "0003_reviews.py").write_text(REVIEWS)

        await others.create_migrated(changed)

        async with opened(changed, others.per_service()) as database, database.writer.connect() as connection:
            assert "reviews" in await connection.run_sync(contents)


class TestDrop:
    async def test_does_not_wait_for_open_transactions(self, server_databases: ServerDatabases) -> None:
        others = ServerDatabases(server_databases.server, prefix="dropped_")
        await others.create_migrated(PLACEMENT)
        async with opened(PLACEMENT, others.per_service()) as database, database.writer.connect() as connection:
            await connection.exec_driver_sql("SELECT count(*) FROM books")  # begins a transaction

            await asyncio.to_thread(others.drop)

            names = "SELECT datname FROM pg_database" if others.dialect == "postgresql" else "SHOW DATABASES"
            assert "dropped_" not in others.server.execute(names)
            await connection.invalidate()  # the server has ended it


class TestMariaDB:
    def test_copies_rows(self, mariadb_server: MariaDBServer) -> None:
        connection = connection_to(mariadb_server)
        connection.create("rows_template")
        for statement in (
            "CREATE TABLE authors (name VARCHAR(20) PRIMARY KEY, length INT AS (LENGTH(name)) STORED)",
            "CREATE TABLE books (title VARCHAR(20), author VARCHAR(20) REFERENCES authors (name))",
            "INSERT INTO authors (name) VALUES ('George Eliot')",
            "INSERT INTO books VALUES ('Middlemarch', 'George Eliot')",
        ):
            mariadb_server.execute(statement, "rows_template")

        assert connection.copy("rows_template", "rows_copy")

        read = "SELECT title, length FROM books JOIN authors ON author = name"
        assert mariadb_server.execute(read, "rows_copy").split() == ["Middlemarch", "12"]
        with pytest.raises(ServerFailed, match="foreign key"):
            mariadb_server.execute("DELETE FROM authors", "rows_copy")

    def test_does_not_copy_a_database_with_views(self, mariadb_server: MariaDBServer) -> None:
        connection = connection_to(mariadb_server)
        connection.create("view_template")
        mariadb_server.execute("CREATE VIEW one AS SELECT 1", "view_template")

        assert not connection.copy("view_template", "view_copy")


class TestRunService:
    @pytest.mark.parametrize("template", [True, False])
    async def test_runs_with_migrated_tables(self, sqlite_databases: Databases, *, template: bool) -> None:
        async with (
            run_service(loans, sqlite_databases, background=False, template=template) as running,
            running.context.database.writer.connect() as connection,
        ):
            assert "loans" in await connection.run_sync(contents)


class TestServerConnection:
    def test_connects_again_after_a_restart(self, start_server: Callable[..., PostgreSQLServer]) -> None:
        server = start_server(PostgreSQLServer)
        databases = ServerDatabases(server, prefix="again_")
        databases.fresh("first")

        server.restart()

        assert databases.fresh("second") == server.url("again_second")
        databases.drop()
        assert "again_" not in server.execute("SELECT datname FROM pg_database")
