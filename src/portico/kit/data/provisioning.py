"""Creation of a service's database or schema, if the account may create it."""

import asyncio
import os
import secrets
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from sqlalchemy import URL, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from portico.kit.data.timeouts import CONNECT_TIMEOUT, connect_options

_NO_CATALOG = "3D000"  # PostgreSQL: invalid_catalog_name
# MySQL: ER_BAD_DB_ERROR, and ER_DBACCESS_DENIED_ERROR if the account may not see the database.
_NO_DATABASE = {1049, 1044}


class DatabaseMissing(RuntimeError):
    """The database or schema does not exist and the account may not create it. `statements` create it."""

    def __init__(self, name: str, statements: list[str]) -> None:
        super().__init__(
            f"{name} does not exist and this account may not create it. Ask an administrator to run: {' '.join(statements)}"
        )
        self.name = name
        self.statements = statements


async def ensure_database(address: URL, schema: str | None, *, connect_timeout: float = CONNECT_TIMEOUT) -> None:
    """Create the database that `address` names, and its schema, if they do not exist.

    Args:
        address: the database.
        schema: its PostgreSQL schema, if any.
        connect_timeout: how long (seconds) a connection to its server may take.

    Raises:
        DatabaseMissing: they do not exist, and the account may not create them.
    """
    if address.get_backend_name() == "sqlite":
        await asyncio.to_thread(_create_file, Path(str(address.database)))
        return
    if not await database_exists(address, connect_timeout=connect_timeout):
        await _create_database(address, connect_timeout)
    if schema is not None:
        await _create_schema(address, schema, connect_timeout)


def _create_file(path: Path) -> None:
    """Create an empty database file in WAL mode, atomically.

    If several processes opened a new file concurrently, each would switch it to WAL. SQLite does not wait for that
    lock, so all but one would fail with "database is locked".
    """
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    with closing(sqlite3.connect(draft)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA user_version=0")
    try:
        with suppress(FileExistsError):  # another process created it first
            os.link(draft, path)
    finally:
        draft.unlink()


async def database_exists(address: URL, *, connect_timeout: float = CONNECT_TIMEOUT) -> bool:
    """Return whether the database that `address` names exists."""
    if address.get_backend_name() == "sqlite":
        return await asyncio.to_thread(Path(str(address.database)).exists)
    try:
        await _run(address, "SELECT 1", connect_timeout)
    except DBAPIError as error:
        if _is_missing(error):
            return False
        raise
    return True


async def _create_database(address: URL, connect_timeout: float) -> None:
    name, user = address.database or "", address.username or "the_account"
    if address.get_backend_name() == "postgresql":
        elsewhere, statement = address.set(database="postgres"), f'CREATE DATABASE "{name}"'
        manual = [f'CREATE DATABASE "{name}" OWNER "{user}";']
    else:
        elsewhere, statement = address.set(database=""), f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4"
        manual = [
            f"CREATE DATABASE IF NOT EXISTS `{name}` CHARACTER SET utf8mb4;",
            f"GRANT ALL ON `{name}`.* TO '{user}'@'%';",
        ]
    try:
        await _run(elsewhere, statement, connect_timeout)
    except DBAPIError as error:
        if await database_exists(address, connect_timeout=connect_timeout):
            return  # another process created it first
        raise DatabaseMissing(f"database {name}", manual) from error


async def _create_schema(address: URL, schema: str, connect_timeout: float) -> None:
    engine = _engine(address, connect_timeout)
    try:
        async with engine.connect() as connection:
            if await _schema_exists(connection, schema):
                return
            try:
                await connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{schema}"'))
            except DBAPIError as error:
                # IF NOT EXISTS does not see a schema that another session has created and not yet committed.
                if await _schema_exists(connection, schema):
                    return
                manual = [f'CREATE SCHEMA "{schema}" AUTHORIZATION "{address.username or "the_account"}";']
                raise DatabaseMissing(f"schema {schema}", manual) from error
    finally:
        await engine.dispose()


async def _schema_exists(connection: AsyncConnection, schema: str) -> bool:
    known = await connection.execute(
        text("SELECT 1 FROM information_schema.schemata WHERE schema_name = :name"), {"name": schema}
    )
    return known.scalar() is not None


async def _run(address: URL, statement: str, connect_timeout: float) -> None:
    engine = _engine(address, connect_timeout)
    try:
        async with engine.connect() as connection:
            await connection.execute(text(statement))
    finally:
        await engine.dispose()


def _engine(address: URL, connect_timeout: float) -> AsyncEngine:
    options = connect_options(address, connect_timeout)
    return create_async_engine(address, isolation_level="AUTOCOMMIT", connect_args=options)


def _is_missing(error: DBAPIError) -> bool:
    arguments = getattr(error.orig, "args", ())
    return getattr(error.orig, "sqlstate", None) == _NO_CATALOG or not _NO_DATABASE.isdisjoint(arguments[:1])
