"""Alembic migrations of each service: first the kit's tables, then the service's. Each has its own version table."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.runtime.migration import MigrationStep
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection, MetaData, text
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
    def scripts(self) -> ScriptDirectory:
        return ScriptDirectory(str(self.folder), version_locations=[str(self.folder / "versions")])


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
    """Return the histories in the database of service `name`."""
    return [KIT_HISTORY] if folder is None else [KIT_HISTORY, MigrationSet(name, folder, tables)]


async def upgrade(database: Database, histories: Sequence[MigrationSet], target: str = "head") -> list[str]:
    """Run pending migrations, one process at a time. Return the revisions that were run."""
    async with _migration_lock(), _locked(database) as connection:
        return await connection.run_sync(
            lambda sync: [step for history in histories for step in _migrate(sync, history, target)]
        )


async def downgrade(database: Database, history: MigrationSet, target: str) -> list[str]:
    """Undo migrations of one history down to `target` ("base", "-1" or a revision). Return the revisions undone."""
    async with _migration_lock(), _locked(database) as connection:
        return await connection.run_sync(_migrate, history, target, down=True)


async def status(database: Database, histories: Sequence[MigrationSet]) -> list[Status]:
    """Return the state of each history."""
    async with database.writer.connect() as connection:
        return await connection.run_sync(lambda sync: [_status(sync, history) for history in histories])


async def require_current(database: Database, histories: Sequence[MigrationSet]) -> None:
    """Raise NotMigrated if a migration is pending."""
    for history in await status(database, histories):
        if not history.is_current:
            at, whose = history.current or "nothing", histories[-1].name
            raise NotMigrated(
                f"The tables of '{history.name}' in the database of {whose} are at {at}, but this version needs {history.head}."
            )


def _status(connection: Connection, history: MigrationSet) -> Status:
    current = script_context(connection, history).get_current_revision()
    scripts = history.scripts
    pending = [script.revision for script in scripts.iterate_revisions("heads", current or "base")]
    return Status(history.name, current, scripts.get_current_head(), tuple(reversed(pending)))


def script_context(connection: Connection, history: MigrationSet, **options: Any) -> MigrationContext:
    """Return Alembic's context for a history, with its own version table."""
    return MigrationContext.configure(
        connection, opts={"version_table": history.version_table, "target_metadata": history.tables, **options}
    )


def _migrate(connection: Connection, history: MigrationSet, target: str, *, down: bool = False) -> list[str]:
    scripts = history.scripts
    done: list[str] = []

    def steps(current: Any, _context: MigrationContext) -> Any:
        plan = _downgrade_steps(scripts, target, current) if down else _upgrade_steps(scripts, target, current)
        done.extend(step.revision.revision for step in plan)
        return plan

    context = script_context(connection, history, fn=steps, transactional_ddl=None)
    with Operations.context(context):
        context.run_migrations()
    return done


def _upgrade_steps(scripts: ScriptDirectory, target: str, current: Any) -> list[Any]:
    found = reversed(list(scripts.iterate_revisions(target, current, implicit_base=True)))
    return [MigrationStep.upgrade_from_script(scripts.revision_map, each) for each in found]


def _downgrade_steps(scripts: ScriptDirectory, target: str, current: Any) -> list[Any]:
    found = scripts.iterate_revisions(current, target, select_for_downgrade=True)
    return [MigrationStep.downgrade_from_script(scripts.revision_map, each) for each in found]


def revisions(history: MigrationSet) -> list[Script]:
    """Return the migrations of a history, oldest first."""
    return list(reversed(list(history.scripts.walk_revisions())))


def _migration_lock() -> asyncio.Lock:
    """Return the lock held while migrations run, because Alembic's `op` is global in the process.

    If two services migrated at once, one would write its tables into the other's database, or find no `op`.
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
        raise NotMigrated(f"Another process has been migrating for {_LOCK_WAIT} s. Check it, then try again.")
