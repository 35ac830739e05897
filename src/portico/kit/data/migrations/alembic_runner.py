"""Running migrations with Alembic."""

from typing import Any

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.runtime.migration import MigrationStep
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection

from portico.kit.data.migrations import MigrationSet, Status


def scripts_of(history: MigrationSet) -> ScriptDirectory:
    """Return the scripts of a history."""
    return ScriptDirectory(str(history.folder), version_locations=[str(history.folder / "versions")])


def status_of(connection: Connection, history: MigrationSet) -> Status:
    """Return the state of a history in the database."""
    current = script_context(connection, history).get_current_revision()
    scripts = scripts_of(history)
    pending = [script.revision for script in scripts.iterate_revisions("heads", current or "base")]
    return Status(history.name, current, scripts.get_current_head(), tuple(reversed(pending)))


def script_context(connection: Connection, history: MigrationSet, **options: Any) -> MigrationContext:
    """Return Alembic's context for a history, with its own version table."""
    return MigrationContext.configure(
        connection, opts={"version_table": history.version_table, "target_metadata": history.tables, **options}
    )


def migrate(connection: Connection, history: MigrationSet, target: str, *, down: bool = False) -> list[str]:
    """Run the migrations of a history up (or down) to `target`. Return the revisions that were run."""
    scripts = scripts_of(history)
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
    return list(reversed(list(scripts_of(history).walk_revisions())))
