"""Draft migrations: write a script with the difference between the migrated tables and the models."""

import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, TypeVar

from alembic.autogenerate import produce_migrations, render_python_code
from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import DowngradeOps, UpgradeOps
from sqlalchemy import URL, Connection
from sqlalchemy.types import TypeEngine

from portico.kit.data.engine import Database
from portico.kit.data.migrations import MigrationSet, upgrade
from portico.kit.data.migrations.alembic_runner import revisions, script_context
from portico.kit.data.provisioning import ensure_database
from portico.kit.data.types import ExactText, IdentifierNumber, IdentifierText, Instant, LongText, Payload, Sequence
from portico.kit.foundation.ids import Identifier, IntegerIdentifier

T = TypeVar("T")

Imports = dict[str, set[str]]
"""Imported names by module."""

_PACKAGE = Path(__file__).parents[3]
_TYPES = "portico.kit.data"
_VARIANTS: dict[str, TypeEngine[Any]] = {"LongText": LongText, "Payload": Payload, "Sequence": Sequence}
_SLUG = 40  # maximum length of a file name's description


async def draft_migration(history: MigrationSet, message: str) -> Path | None:
    """Write the migration from the history's last revision to the currently declared tables.

    The tables are created and compared in a temporary SQLite database. Some changes cannot be detected there, such as a
    renamed column; the author must correct them.

    Args:
        history: the history. Its folder is created if necessary.
        message: what the migration does, in a few words.

    Returns:
        Path of the script, or None if nothing has changed.
    """
    (history.folder / "versions").mkdir(parents=True, exist_ok=True)
    text = await _migrated(history, lambda connection: _draft(connection, history, message))
    if text is None:
        return None
    slug = re.sub("[^a-z0-9]+", "_", message.lower()).strip("_")[:_SLUG]
    path = history.folder / "versions" / f"{_next_number(history)}_{slug}.py"
    path.write_text(text)
    return path


async def unmigrated_tables(history: MigrationSet) -> list[str]:
    """Return the names of tables whose declaration differs from what the history's migrations create.

    The tables are created and compared in a temporary SQLite database.
    """

    def compare(connection: Connection) -> list[str]:
        found = produce_migrations(script_context(connection, history), history.tables).upgrade_ops
        return sorted({str(getattr(each, "table_name", each)) for each in found.ops}) if found is not None else []

    return await _migrated(history, compare)


async def _migrated(history: MigrationSet, act: Callable[[Connection], T]) -> T:
    """Call `act` with a temporary SQLite database in which the history's migrations have run."""
    with TemporaryDirectory() as folder:
        address = URL.create("sqlite+aiosqlite", database=str(Path(folder) / "scratch.db"))
        await ensure_database(address, None)
        database = Database.connect(address)
        try:
            await upgrade(database, [history])
            async with database.writer.connect() as connection:
                return await connection.run_sync(act)
        finally:
            await database.aclose()


def _next_number(history: MigrationSet) -> str:
    return f"{max((int(each.revision) for each in revisions(history) if each.revision.isdigit()), default=0) + 1:04}"


def _draft(connection: Connection, history: MigrationSet, message: str) -> str | None:
    context = script_context(connection, history)
    found = produce_migrations(context, history.tables)
    up, down = found.upgrade_ops, found.downgrade_ops
    if up is None or down is None or up.is_empty():
        return None
    imports: Imports = defaultdict(set)
    upgrading, downgrading = (_render(each, imports) for each in (up, down))
    last = history.head
    return _SCRIPT.format(
        message=message.strip().rstrip("."),
        imports=_import_lines(imports, is_shipped=history.folder.is_relative_to(_PACKAGE)),
        revision=_next_number(history),
        last="None" if last is None else f'"{last}"',
        upgrade=upgrading,
        downgrade=downgrading,
    )


def _import_lines(imports: Imports, *, is_shipped: bool) -> str:
    """Return the imports after that of Alembic, in isort's order. In a team's project, Portico is third-party code."""
    lines = {module: f"from {module} import {', '.join(sorted(names))}\n" for module, names in sorted(imports.items())}
    portico = "".join(line for module, line in lines.items() if module.startswith("portico."))
    own = "".join(line for module, line in lines.items() if not module.startswith("portico."))
    gap = "\n" if is_shipped and portico else ""
    return gap + portico + ("\n" + own if own else "")


def _public_module(kind: type[Identifier | IntegerIdentifier]) -> str:
    """Return the module to import an identifier from. For the kit, it is the package that exports it."""
    module = kind.__module__
    return ".".join(module.split(".")[:3]) if module.startswith("portico.kit.") else module


def _render(operations: UpgradeOps | DowngradeOps, imports: Imports) -> str:
    def render(kind: str, item: Any, _context: AutogenContext) -> str | Literal[False]:
        return _render_type(item, imports) if kind == "type" else False

    code = render_python_code(operations, render_item=render, render_as_batch=True)
    lines = [re.sub(r"# ### .*", "", each).rstrip() for each in code.splitlines()]
    return "\n".join(_double_quoted(each) for each in lines if each.strip())


def _render_type(kind: TypeEngine[Any], imports: Imports) -> str | Literal[False]:
    """Return the source of a kit type and add its imports; return False for other types, which Alembic renders."""
    if isinstance(kind, IdentifierText | IdentifierNumber):
        name = type(kind).__name__
        imports[_public_module(kind.kind)].add(kind.kind.__name__)
        imports[_TYPES].add(name)
        return f"{name}({kind.kind.__name__})"
    if isinstance(kind, ExactText):
        imports[_TYPES].add("ExactText")
        return f"ExactText({kind.length})"
    if isinstance(kind, Instant):
        imports[_TYPES].add("Instant")
        return "Instant()"
    return _render_variant(kind, imports)


def _render_variant(kind: TypeEngine[Any], imports: Imports) -> str | Literal[False]:
    """Return the source of LongText, Payload or Sequence, which are plain types with variants for other databases."""
    name = next((name for name, variant in _VARIANTS.items() if kind is variant), None)
    if name is None:
        return False
    imports[_TYPES].add(name)
    return name


def _double_quoted(line: str) -> str:
    return line if '"' in line else line.replace("'", '"')


_SCRIPT = '''"""{message}."""

import sqlalchemy as sa
from alembic import op
{imports}
revision = "{revision}"
down_revision = {last}


def upgrade() -> None:
{upgrade}


def downgrade() -> None:
{downgrade}
'''
