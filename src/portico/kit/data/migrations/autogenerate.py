"""Drafting a migration: what has to change for the tables to be what the models say, as a script."""

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
_SLUG = 40  # characters of a file's name


async def draft_migration(line: MigrationSet, message: str) -> Path | None:
    """Write the migration that leads from the history's last one to the tables as they are declared now.

    The tables are made and compared in a scratch SQLite database. What can't be seen there, such as a renamed column,
    is for the author to put right.

    Args:
        line: the history; its folder is made where there is none.
        message: what the migration does, in a few words.

    Returns:
        the script, or None where nothing has to change.
    """
    (line.folder / "versions").mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as folder:
        address = URL.create("sqlite+aiosqlite", database=str(Path(folder) / "scratch.db"))
        await ensure_database(address, None)
        database = Database.connect(address)
        try:
            await upgrade(database, [line])
            async with database.writer.connect() as connection:
                text = await connection.run_sync(_draft, line, message)
        finally:
            await database.aclose()
    if text is None:
        return None
    slug = re.sub("[^a-z0-9]+", "_", message.lower()).strip("_")[:_SLUG]
    path = line.folder / "versions" / f"{_next_number(line)}_{slug}.py"
    path.write_text(text)
    return path


def _next_number(line: MigrationSet) -> str:
    return f"{max((int(each.revision) for each in revisions(line) if each.revision.isdigit()), default=0) + 1:04}"


def _draft(connection: Connection, line: MigrationSet, message: str) -> str | None:
    context = script_context(connection, line)
    found = produce_migrations(context, line.tables)
    up, down = found.upgrade_ops, found.downgrade_ops
    if up is None or down is None or up.is_empty():
        return None
    imports: set[str] = set()
    upgrading, downgrading = (_rendered(each, imports) for each in (up, down))
    last = line.scripts.get_current_head()
    return _SCRIPT.format(
        message=message.strip().rstrip("."),
        imports="".join(f"\n{each}" for each in sorted(imports)) + ("\n" if imports else ""),
        revision=_next_number(line),
        last="None" if last is None else f'"{last}"',
        upgrade=upgrading,
        downgrade=downgrading,
    )


def _rendered(operations: UpgradeOps | DowngradeOps, imports: set[str]) -> str:
    def render(kind: str, item: Any, _context: AutogenContext) -> str | Literal[False]:
        return _rendered_type(item, imports) if kind == "type" else False

    code = render_python_code(operations, render_item=render, render_as_batch=True)
    lines = [re.sub(r"# ### .*", "", each).rstrip() for each in code.splitlines()]
    return "\n".join(_double_quoted(each) for each in lines if each.strip())


def _rendered_type(kind: TypeEngine[Any], imports: set[str]) -> str | Literal[False]:
    """A type of the kit as migrations write it; False for those of SQLAlchemy, which Alembic knows how to write."""
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
    return _rendered_variant(kind, imports)


def _rendered_variant(kind: TypeEngine[Any], imports: set[str]) -> str | Literal[False]:
    """LongText, Payload and Sequence are plain types that have variants for other databases."""
    names = {Text: "LongText", JSON: "Payload", BigInteger: "Sequence"}
    if not kind._variant_mapping or type(kind) not in names:  # noqa: SLF001 SQLAlchemy tells of variants nowhere else
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
