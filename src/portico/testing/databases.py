"""Databases for one test, of each dialect: empty ones, and migrated ones that are copied from a template."""

import asyncio
import itertools
import os
import secrets
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol
from weakref import WeakKeyDictionary

from portico.kit.data.migrations import upgrade
from portico.kit.runtime.databases import migration_sets, open_database
from portico.kit.runtime.system import Placement
from portico.kit.settings import Environment, Settings, database_for
from portico.servers import MariaDBServer, PostgreSQLServer
from portico.testing.server_connection import connection_to

Scripts = tuple[tuple[str, str, int, int], ...]
"""Migration scripts: of each one its history, path, size and time of change (ns)."""


class Databases(Protocol):
    """Databases that belong to one test."""

    @property
    def dialect(self) -> str:
        """One of `sqlite`, `postgresql`, `mariadb`."""

    def fresh(self, name: str = "main") -> str:
        """Create the empty database `name`; return its address."""

    def per_service(self) -> str:
        """Return an address with `{service}` in it, for one database per service. The databases do not exist yet."""

    async def create_migrated(self, placement: Placement) -> None:
        """Create the database of a service, with its tables, at the address of `per_service`, unless it exists.

        The first call for a set of migrations runs them in a template. It and later calls copy the template, which is
        faster than migrating. A template belongs to this process.
        """


class SQLiteDatabases:
    """SQLite files in a folder of the test."""

    dialect = "sqlite"

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder

    def fresh(self, name: str = "main") -> str:
        return f"sqlite:///{self._folder / name}.db"

    def per_service(self) -> str:
        return self.fresh("{service}")

    async def create_migrated(self, placement: Placement) -> None:
        path = _path(self.per_service(), placement)
        if path.exists():
            return
        scripts = _scripts_of(placement)
        if scripts not in _files:
            _files[scripts] = await _migrated_file(placement)
        draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        draft.write_bytes(_files[scripts])
        with suppress(FileExistsError):  # another process created it first
            os.link(draft, path)
        draft.unlink()


class ServerDatabases:
    """Databases on a shared server. A prefix separates them from those of other tests."""

    def __init__(self, server: PostgreSQLServer | MariaDBServer, *, prefix: str) -> None:
        self.server = server
        self.dialect = server.key
        self._prefix = prefix

    def fresh(self, name: str = "main") -> str:
        connection_to(self.server).create(f"{self._prefix}{name}")
        return self.server.url(f"{self._prefix}{name}")

    def per_service(self) -> str:
        return self.server.url(f"{self._prefix}{{service}}_db")

    async def create_migrated(self, placement: Placement) -> None:
        templates = _templates.setdefault(self.server, {})
        scripts = _scripts_of(placement)
        if scripts not in templates:
            templates[scripts] = await self._migrated_template(placement)
        name = _name(self.per_service(), placement)
        await asyncio.to_thread(connection_to(self.server).copy, templates[scripts], name)

    def drop(self) -> None:
        connection_to(self.server).drop(self._prefix)

    async def _migrated_template(self, placement: Placement) -> str:
        address = self.server.url(f"template_{next(_numbers)}_{{service}}")
        await _migrate(address, placement)
        return _name(address, placement)


_files: dict[Scripts, bytes] = {}
"""Contents of migrated SQLite files."""
_templates: "WeakKeyDictionary[PostgreSQLServer | MariaDBServer, dict[Scripts, str]]" = WeakKeyDictionary()
"""Names of the migrated databases on each server."""
_numbers = itertools.count(1)


async def _migrated_file(placement: Placement) -> bytes:
    with TemporaryDirectory() as folder:
        address = f"sqlite:///{folder}/{{service}}.db"
        await _migrate(address, placement)
        path = _path(address, placement)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return path.read_bytes()


async def _migrate(address: str, placement: Placement) -> None:
    async with open_database(placement, _settings(address)) as database:
        await upgrade(database, migration_sets(placement))


def _scripts_of(placement: Placement) -> Scripts:
    """Return what identifies a set of migrations. A script that a test writes or changes makes another set."""
    scripts = [
        (history.name, path, path.stat())
        for history in migration_sets(placement)
        for path in sorted((history.folder / "versions").glob("*.py"))
    ]
    return tuple((name, str(path), state.st_size, state.st_mtime_ns) for name, path, state in scripts)


def _path(address: str, placement: Placement) -> Path:
    return Path(_name(address, placement))


def _name(address: str, placement: Placement) -> str:
    """Return the name of a service's database: of SQLite, its path."""
    return str(database_for(_settings(address), placement.name).url.database)


def _settings(address: str) -> Settings:
    return Environment({"DATABASE_URL": address, "DATABASE_CONNECT_TIMEOUT": "60"}).read(Settings)
