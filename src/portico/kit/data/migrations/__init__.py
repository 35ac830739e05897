"""Alembic for each service: the kit's own tables first, then the service's, each with a version table of its own."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection, MetaData, text
from sqlalchemy.ext.asyncio import AsyncConnection

from portico.kit.data import kit_tables
from portico.kit.data.engine import Database

KIT_MIGRATIONS = Path(__file__).parent
_LOCK = 0x706F7274  # "port": the number of the advisory lock under which one process migrates
_LOCK_WAIT = 60  # seconds
_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


class NotMigrated(RuntimeError):
    """The database is not at the version that this code needs."""


@dataclass(frozen=True)
class MigrationSet:
    """One line of migrations: where its scripts are, the tables that they make, where it keeps its version."""

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
    """Where a history stands in a database: `current` is None before its first migration."""

    name: str
    current: str | None
    head: str | None
    pending: tuple[str, ...]

    @property
    def is_current(self) -> bool:
        return not self.pending


def migration_sets_of(name: str, folder: Path | None, tables: MetaData) -> list[MigrationSet]:
    """The histories of the database of service `name`."""
    return [KIT_HISTORY] if folder is None else [KIT_HISTORY, MigrationSet(name, folder, tables)]


async def upgrade(database: Database, lines: Sequence[MigrationSet], target: str = "head") -> list[str]:
    """Run what is pending, one process at a time; the revisions that were run."""
    async with _turn(), _locked(database) as connection:
        return await connection.run_sync(lambda sync: [step for line in lines for step in _migrate(sync, line, target)])


async def downgrade(database: Database, line: MigrationSet, target: str) -> list[str]:
    """Undo migrations of one history down to `target` ("base", "-1", a revision); the revisions that were undone."""
    async with _turn(), _locked(database) as connection:
        return await connection.run_sync(_migrate, line, target, down=True)


async def status(database: Database, lines: Sequence[MigrationSet]) -> list[Status]:
    """Where each history stands."""
    async with database.writer.connect() as connection:
        return await connection.run_sync(lambda sync: [_status(sync, line) for line in lines])


async def require_current(database: Database, lines: Sequence[MigrationSet]) -> None:
    """Raises NotMigrated where a migration is pending."""
    for line in await status(database, lines):
        if not line.is_current:
            at, whose = line.current or "nothing", lines[-1].name
            raise NotMigrated(
                f"the tables of '{line.name}' in the database of {whose} are at {at}, and this version needs {line.head}"
            )


def _status(connection: Connection, line: MigrationSet) -> Status:
    current = script_context(connection, line).get_current_revision()
    scripts = line.scripts
    pending = [script.revision for script in scripts.iterate_revisions("heads", current or "base")]
    return Status(line.name, current, scripts.get_current_head(), tuple(reversed(pending)))


def script_context(connection: Connection, line: MigrationSet, **options: Any) -> MigrationContext:
    """Alembic's context for a history, with its own version table."""
    return MigrationContext.configure(
        connection, opts={"version_table": line.version_table, "target_metadata": line.tables, **options}
    )


def _migrate(connection: Connection, line: MigrationSet, target: str, *, down: bool = False) -> list[str]:
    scripts = line.scripts
    done: list[str] = []

    def steps(current: Any, _context: MigrationContext) -> Any:
        plan = scripts._downgrade_revs(target, current) if down else scripts._upgrade_revs(target, current)  # noqa: SLF001  what Alembic's own commands call
        done.extend(step.revision.revision for step in plan)
        return plan

    context = script_context(connection, line, fn=steps, transactional_ddl=None)
    with Operations.context(context):
        context.run_migrations()
    return done


def revisions(line: MigrationSet) -> list[Script]:
    """The migrations of a history, oldest first."""
    return list(reversed(list(line.scripts.walk_revisions())))


def _turn() -> asyncio.Lock:
    """Held while migrations run: Alembic's `op`, by which they write, is one for the whole process.

    Of two services that migrate at once, one would write its tables into the other's database, or find no `op` at all.
    """
    return _turns.setdefault(asyncio.get_running_loop(), asyncio.Lock())


@asynccontextmanager
async def _locked(database: Database) -> AsyncIterator[AsyncConnection]:
    """A connection beside which no other process migrates, in one transaction where the database can."""
    async with database.writer.connect() as connection:
        async with connection.begin():
            if database.dialect == "sqlite":
                await connection.execute(text("SELECT 1"))  # begins, and holds the file from here on
            elif database.dialect == "postgresql":
                await connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK})
            elif database.dialect in {"mysql", "mariadb"}:
                await _take_named_lock(connection)
            yield connection
        if database.dialect in {"mysql", "mariadb"}:
            await connection.execute(text("SELECT RELEASE_LOCK('portico.migrate')"))


async def _take_named_lock(connection: AsyncConnection) -> None:
    got = await connection.execute(text("SELECT GET_LOCK('portico.migrate', :wait)"), {"wait": _LOCK_WAIT})
    if got.scalar() != 1:
        raise NotMigrated(f"another process has been migrating for {_LOCK_WAIT} s; look at it, then try again")
