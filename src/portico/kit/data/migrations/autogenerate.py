"""Drafts of migrations: a script with the difference between the migrated tables and the models."""

import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from alembic.autogenerate import produce_migrations, render_python_code
from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import DowngradeOps, UpgradeOps
from sqlalchemy import JSON, URL, BigInteger, Connection, Text
from sqlalchemy.types import TypeEngine

from portico.kit.data.engine import Database
from portico.kit.data.migrations import MigrationSet, revisions, script_context, upgrade
from portico.kit.data.provisioning import ensure_database
from portico.kit.data.types import ExactText, IdentifierText, Instant

_TYPES = "portico.kit.data.types"
_SLUG = 40  # maximum length of a file name's description


async def draft_migration(history: MigrationSet, message: str) -> Path | None:
    """Write the migration from the history's last revision to the tables as they are declared now.

    The tables are created and compared in a temporary SQLite database. The author must correct what cannot be detected
    there, such as a renamed column.

    Args:
        history: the history. Its folder is created if necessary.
        message: what the migration does, in a few words.

    Returns:
        Path of the script, or None if nothing has changed.
    """
    (history.folder / "versions").mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as folder:
        address = URL.create("sqlite+aiosqlite", database=str(Path(folder) / "scratch.db"))
        await ensure_database(address, None)
        database = Database.connect(address)
        try:
            await upgrade(database, [history])
            async with database.writer.connect() as connection:
                text = await connection.run_sync(_draft, history, message)
        finally:
            await database.aclose()
    if text is None:
        return None
    slug = re.sub("[^a-z0-9]+", "_", message.lower()).strip("_")[:_SLUG]
    path = history.folder / "versions" / f"{_next_number(history)}_{slug}.py"
    path.write_text(text)
    return path


def _next_number(history: MigrationSet) -> str:
    return f"{max((int(each.revision) for each in revisions(history) if each.revision.isdigit()), default=0) + 1:04}"


def _draft(connection: Connection, history: MigrationSet, message: str) -> str | None:
    context = script_context(connection, history)
    found = produce_migrations(context, history.tables)
    up, down = found.upgrade_ops, found.downgrade_ops
    if up is None or down is None or up.is_empty():
        return None
    imports: set[str] = set()
    upgrading, downgrading = (_render(each, imports) for each in (up, down))
    last = history.scripts.get_current_head()
    return _SCRIPT.format(
        message=message.strip().rstrip("."),
        imports="".join(f"\n{each}" for each in sorted(imports)) + ("\n" if imports else ""),
        revision=_next_number(history),
        last="None" if last is None else f'"{last}"',
        upgrade=upgrading,
        downgrade=downgrading,
    )


def _render(operations: UpgradeOps | DowngradeOps, imports: set[str]) -> str:
    def render(kind: str, item: Any, _context: AutogenContext) -> str | Literal[False]:
        return _render_type(item, imports) if kind == "type" else False

    code = render_python_code(operations, render_item=render, render_as_batch=True)
    lines = [re.sub(r"# ### .*", "", each).rstrip() for each in code.splitlines()]
    return "\n".join(_double_quoted(each) for each in lines if each.strip())


def _render_type(kind: TypeEngine[Any], imports: set[str]) -> str | Literal[False]:
    """Return the source of a kit type and add its imports; return False for other types, which Alembic renders."""
    if isinstance(kind, IdentifierText):
        imports.add(f"from {kind.kind.__module__} import {kind.kind.__name__}")
        imports.add(f"from {_TYPES} import IdentifierText")
        return f"IdentifierText({kind.kind.__name__})"
    if isinstance(kind, ExactText):
        imports.add(f"from {_TYPES} import ExactText")
        return f"ExactText({kind.length})"
    if isinstance(kind, Instant):
        imports.add(f"from {_TYPES} import Instant")
        return "Instant()"
    return _render_variant(kind, imports)


def _render_variant(kind: TypeEngine[Any], imports: set[str]) -> str | Literal[False]:
    """Return the source of LongText, Payload or Sequence, which are plain types with variants for other databases."""
    names = {Text: "LongText", JSON: "Payload", BigInteger: "Sequence"}
    if not kind._variant_mapping or type(kind) not in names:  # noqa: SLF001  # it has no public name
        return False
    imports.add(f"from {_TYPES} import {names[type(kind)]}")
    return names[type(kind)]


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
