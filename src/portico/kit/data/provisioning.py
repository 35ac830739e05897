"""Making the database or schema that a service lives in, where the account may."""

import asyncio
import os
import secrets
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from sqlalchemy import URL, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from portico.kit.data.timeouts import in_time

_NO_CATALOG = "3D000"  # PostgreSQL: invalid_catalog_name
# MySQL: ER_BAD_DB_ERROR; ER_DBACCESS_DENIED_ERROR, by which it tells an account nothing of what it may not see.
_NO_DATABASE = {1049, 1044}


class DatabaseMissing(RuntimeError):
    """The database or schema is not there, and the account may not make it. `statements` are what to run."""

    def __init__(self, name: str, statements: list[str]) -> None:
        super().__init__(
            f"{name} does not exist and this account may not make it. Have an administrator run: {' '.join(statements)}"
        )
        self.name = name
        self.statements = statements


async def ensure_database(address: URL, schema: str | None) -> None:
    """Make the database that `address` names, and the schema in it, where they are missing.

    Raises:
        DatabaseMissing: they are missing, and the account may not make them.
    """
    if address.get_backend_name() == "sqlite":
        await asyncio.to_thread(_make_file, Path(str(address.database)))
        return
    if not await place_exists(address):
        await _make_database(address)
    if schema is not None:
        await _make_schema(address, schema)


def _make_file(path: Path) -> None:
    """Make an empty database file in WAL mode, whole at once.

    Processes that open a new file together would each switch it to WAL, which takes a lock that SQLite does not wait
    for: all but one would be told that the database is locked.
    """
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    with closing(sqlite3.connect(draft)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA user_version=0")
    try:
        with suppress(FileExistsError):  # another process was quicker
            os.link(draft, path)
    finally:
        draft.unlink()


async def place_exists(address: URL) -> bool:
    """Whether the database that `address` names is there."""
    if address.get_backend_name() == "sqlite":
        return await asyncio.to_thread(Path(str(address.database)).exists)
    try:
        await _run(address, "SELECT 1")
    except DBAPIError as error:
        if _names_no_database(error):
            return False
        raise
    return True


async def _make_database(address: URL) -> None:
    name, user = address.database or "", address.username or "the_account"
    if address.get_backend_name() == "postgresql":
        elsewhere, statement = address.set(database="postgres"), f'CREATE DATABASE "{name}"'
        by_hand = [f'CREATE DATABASE "{name}" OWNER "{user}";']
    else:
        elsewhere, statement = address.set(database=""), f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4"
        by_hand = [
            f"CREATE DATABASE IF NOT EXISTS `{name}` CHARACTER SET utf8mb4;",
            f"GRANT ALL ON `{name}`.* TO '{user}'@'%';",
        ]
    try:
        await _run(elsewhere, statement)
    except DBAPIError as error:
        if await place_exists(address):
            return  # another process was quicker
        raise DatabaseMissing(f"database {name}", by_hand) from error


async def _make_schema(address: URL, schema: str) -> None:
    engine = create_async_engine(address, isolation_level="AUTOCOMMIT", connect_args=in_time(address))
    try:
        async with engine.connect() as connection:
            if await _schema_exists(connection, schema):
                return
            try:
                await connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{schema}"'))
            except DBAPIError as error:
                # IF NOT EXISTS does not see a schema that another session has made and not yet committed.
                if await _schema_exists(connection, schema):
                    return
                by_hand = [f'CREATE SCHEMA "{schema}" AUTHORIZATION "{address.username or "the_account"}";']
                raise DatabaseMissing(f"schema {schema}", by_hand) from error
    finally:
        await engine.dispose()


async def _schema_exists(connection: AsyncConnection, schema: str) -> bool:
    known = await connection.execute(
        text("SELECT 1 FROM information_schema.schemata WHERE schema_name = :name"), {"name": schema}
    )
    return known.scalar() is not None


async def _run(address: URL, *statements: str) -> None:
    engine = create_async_engine(address, isolation_level="AUTOCOMMIT", connect_args=in_time(address))
    try:
        async with engine.connect() as connection:
            for statement in statements:
                await connection.execute(text(statement))
    finally:
        await engine.dispose()


def _names_no_database(error: DBAPIError) -> bool:
    arguments = getattr(error.orig, "args", ())
    return getattr(error.orig, "sqlstate", None) == _NO_CATALOG or not _NO_DATABASE.isdisjoint(arguments[:1])
