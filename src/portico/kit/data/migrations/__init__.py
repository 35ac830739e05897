"""Alembic migrations of each service: first the kit's tables, then the service's. Each has its own version table."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, MetaData, inspect, text
from sqlalchemy.ext.asyncio import AsyncConnection

from portico.kit.data import kit_tables
from portico.kit.data.engine import Database

KIT_MIGRATIONS = Path(__file__).parent
_LOCK = 0x706F7274  # "port": number of the advisory lock that a migrating process holds
_LOCK_WAIT = 60  # seconds
_migration_locks: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


class NotMigrated(RuntimeError):
    """The database is not at the version that this code requires."""


@dataclass(frozen=True)
class MigrationSet:
    """A history of migrations: the folder of its scripts, the tables they create, and its version table."""

    name: str
    folder: Path
    tables: MetaData

    @property
    def version_table(self) -> str:
        return f"{self.name}_version"

    @property
    def head(self) -> str | None:
        """The revision of the last migration, read from the scripts' texts."""
        found = [_REVISION.findall(each.read_text()) for each in (self.folder / "versions").glob("*.py")]
        pairs = [dict(each) for each in found if each]
        followed = {each.get("down_revision") for each in pairs}
        return next((each["revision"] for each in pairs if each["revision"] not in followed), None)


_REVISION = re.compile(r"""^(revision|down_revision)\b[^=\n]*=\s*["']([^"']+)["']""", re.MULTILINE)

KIT_HISTORY = MigrationSet("portico", KIT_MIGRATIONS, kit_tables.metadata)


@dataclass(frozen=True, slots=True)
class Status:
    """State of a history in a database. `current` is None before its first migration."""

    name: str
    current: str | None
    head: str | None
    pending: tuple[str, ...]

    @property
    def is_current(self) -> bool:
        return not self.pending


def migration_sets_of(name: str, folder: Path | None, tables: MetaData) -> list[MigrationSet]:
    """Return the migration histories in the database of the service `name`."""
    return [KIT_HISTORY] if folder is None else [KIT_HISTORY, MigrationSet(name, folder, tables)]


async def upgrade(database: Database, histories: Sequence[MigrationSet], target: str = "head") -> list[str]:
    """Run pending migrations, one process at a time. Return the revisions that were run.

    Alembic, which is slow to import, is imported only if there is a pending migration.
    """
    if target == "head" and await _are_current(database, histories):
        return []
    from portico.kit.data.migrations.alembic_runner import migrate

    async with _migration_lock(), _locked(database) as connection:
        return await connection.run_sync(
            lambda sync: [step for history in histories for step in migrate(sync, history, target)]
        )


async def downgrade(database: Database, history: MigrationSet, target: str) -> list[str]:
    """Undo migrations of one history down to `target` ("base", "-1" or a revision). Return the revisions undone."""
    from portico.kit.data.migrations.alembic_runner import migrate

    async with _migration_lock(), _locked(database) as connection:
        return await connection.run_sync(migrate, history, target, down=True)


async def status(database: Database, histories: Sequence[MigrationSet]) -> list[Status]:
    """Return the state of each history."""
    from portico.kit.data.migrations.alembic_runner import status_of

    async with database.writer.connect() as connection:
        return await connection.run_sync(lambda sync: [status_of(sync, history) for history in histories])


async def require_current(database: Database, histories: Sequence[MigrationSet]) -> None:
    """Raise NotMigrated if a migration is pending."""
    if await _are_current(database, histories):
        return
    for history in await status(database, histories):
        if not history.is_current:
            at, whose = history.current or "nothing", histories[-1].name
            raise NotMigrated(
                f"The tables of '{history.name}' in the database of {whose} are at {at}, but this version needs {history.head}."
            )


async def _are_current(database: Database, histories: Sequence[MigrationSet]) -> bool:
    engine = database.writer if database.has_row_locks else database.reader  # a replica may lag
    async with engine.connect() as connection:
        return await connection.run_sync(lambda sync: all(_is_current(sync, history) for history in histories))


def _is_current(connection: Connection, history: MigrationSet) -> bool:
    if not inspect(connection).has_table(history.version_table):
        return False
    found = connection.execute(text(f"SELECT version_num FROM {history.version_table}"))  # noqa: S608  # the table name is a constant
    return list(found.scalars()) == [history.head]


def _migration_lock() -> asyncio.Lock:
    """Return the lock for running migrations. It is needed because Alembic's `op` is global in the process.

    If two services migrated concurrently, one would write its tables into the other's database, or find no `op`.
    """
    return _migration_locks.setdefault(asyncio.get_running_loop(), asyncio.Lock())


@asynccontextmanager
async def _locked(database: Database) -> AsyncIterator[AsyncConnection]:
    """Open a connection that excludes other migrating processes, in one transaction if the database supports it."""
    async with database.writer.connect() as connection:
        async with connection.begin():
            if database.dialect == "sqlite":
                await connection.execute(text("SELECT 1"))  # begins the transaction and locks the file
            elif database.dialect == "postgresql":
                await connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK})
            elif database.dialect in {"mysql", "mariadb"}:
                await _acquire_named_lock(connection)
            yield connection
        if database.dialect in {"mysql", "mariadb"}:
            await connection.execute(text("SELECT RELEASE_LOCK('portico.migrate')"))


async def _acquire_named_lock(connection: AsyncConnection) -> None:
    got = await connection.execute(text("SELECT GET_LOCK('portico.migrate', :wait)"), {"wait": _LOCK_WAIT})
    if got.scalar() != 1:
        raise NotMigrated(f"Another process has been migrating for {_LOCK_WAIT} seconds. Check it, then try again.")
