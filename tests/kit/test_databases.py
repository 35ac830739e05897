import sqlite3
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import make_url
from sqlalchemy.exc import OperationalError
from tests.cli.systems import library
from tests.kit.statements import run

from portico.kit.data.engine import Database
from portico.kit.data.migrations import upgrade
from portico.kit.data.provisioning import ensure_database
from portico.kit.runtime.databases import DatabaseUnusable, migration_sets, open_database, translate_errors
from portico.kit.settings import DatabaseAddress, Settings, database_for
from portico.testing.databases import Databases


async def trouble(**settings: object) -> DatabaseUnusable:
    with pytest.raises(DatabaseUnusable) as caught:
        async with open_database(library.placement("loans"), Settings.model_validate(settings)) as database:
            await database.check()
    return caught.value


async def refusal(place: DatabaseAddress) -> DatabaseUnusable:
    """Return the error of creating the tables of loans there."""
    database = Database.connect(place.url)
    try:
        with pytest.raises(DatabaseUnusable) as caught, translate_errors("loans", place):
            await upgrade(database, migration_sets(library.placement("loans")))
    finally:
        await database.aclose()
    return caught.value


class TestOpenDatabase:
    async def test_is_created_and_responds(self, databases: Databases) -> None:
        settings = Settings(database_url=databases.per_service())

        async with open_database(library.placement("loans"), settings) as database:
            await database.check()

    async def test_a_folder_that_cannot_be_written_is_named(self) -> None:
        error = await trouble(data_dir=Path("/proc/nowhere"))

        assert "/proc/nowhere/loans.db" in error.problem
        assert "DATA_DIR" in error.advice

    async def test_a_folder_that_is_a_file_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "data").write_text("")

        assert "cannot be opened" in (await trouble(data_dir=tmp_path / "data")).problem

    async def test_a_server_that_does_not_respond_is_named(self, server_databases: Databases) -> None:
        address = make_url(server_databases.fresh()).set(port=1, database="x_{service}")
        text = address.render_as_string(hide_password=False).replace("%7B", "{").replace("%7D", "}")

        assert "127.0.0.1:1 cannot be reached: the connection was refused" in (await trouble(database_url=text)).problem

    async def test_a_rejected_account_is_named_without_its_password(self, server_databases: Databases) -> None:
        address = make_url(server_databases.fresh()).set(password="hunter2hunter2", database="x_{service}")
        text = address.render_as_string(hide_password=False).replace("%7B", "{").replace("%7D", "}")

        error = await trouble(database_url=text)

        assert "rejected" in error.problem
        assert "hunter2" not in str(error)


class TestErrorTranslation:
    async def test_tables_owned_by_another_account_are_reported(self, databases: Databases) -> None:
        place = database_for(Settings(database_url=databases.per_service()), "loans")
        await ensure_database(place.url, None)
        await run(place.url, "CREATE TABLE loans (theirs INTEGER)")

        error = await refusal(place)

        assert "contains tables that its migrations did not create" in error.problem
        assert str(place.url.database) in error.problem
        assert "its own database" in error.advice

    async def test_an_account_that_may_not_create_tables_is_given_the_statement(
        self, server_databases: Databases
    ) -> None:
        place = database_for(Settings(database_url=server_databases.per_service()), "loans")
        await ensure_database(place.url, None)
        name = f"limited_{uuid4().hex[:8]}"
        account = ("ROLE", "LOGIN PASSWORD") if server_databases.dialect == "postgresql" else ("USER", "IDENTIFIED BY")
        await run(place.url, f"CREATE {account[0]} {name} {account[1]} 'as good as any'")
        if server_databases.dialect == "mariadb":
            await run(place.url, f"GRANT SELECT ON `{place.url.database}`.* TO {name}")
        limited = replace(place, url=place.url.set(username=name, password="as good as any"))

        error = await refusal(limited)
        dropped = (f"DROP OWNED BY {name}", f"DROP ROLE {name}")
        await run(place.url, *(dropped if server_databases.dialect == "postgresql" else (f"DROP USER {name}",)))

        assert f"The account {name} may not create and use tables" in error.problem
        assert name in error.advice
        assert str(place.url.database) in error.advice
        assert "as good as any" not in str(error)

    def test_a_driver_that_is_not_installed_is_named_with_its_extra(self) -> None:
        place = database_for(Settings(database_url="mysql://root@127.0.0.1/{service}_db"), "loans")

        with pytest.raises(DatabaseUnusable, match=r"asyncmy is not installed.*pip install 'portico\[mysql\]'"):
            _import_missing(place)

    def test_a_full_disk_is_named(self, tmp_path: Path) -> None:
        place = database_for(Settings(data_dir=tmp_path), "loans")
        full = sqlite3.OperationalError("database or disk is full")
        full.sqlite_errorcode = sqlite3.SQLITE_FULL

        with pytest.raises(DatabaseUnusable) as caught, translate_errors("loans", place):
            raise OperationalError("COMMIT", {}, full)

        assert (
            caught.value.problem
            == f"The database of loans, {tmp_path}/loans.db, cannot be written: database or disk is full."
        )
        assert "Free space" in caught.value.advice

    def test_unknown_errors_are_not_translated(self) -> None:
        place = database_for(Settings(), "loans")

        with pytest.raises(ZeroDivisionError), translate_errors("loans", place):
            raise ZeroDivisionError


def _import_missing(place: DatabaseAddress) -> None:
    with translate_errors("loans", place):
        raise ModuleNotFoundError("No module named 'asyncmy'", name="asyncmy")
