"""INSERT statements that ignore existing rows, on every database."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import Insert, Table, delete, insert, literal, select
from sqlalchemy.dialects import mysql, postgresql, sqlite

from portico.kit.data.statements import Statement
from portico.kit.data.unit_of_work import UnitOfWork

_MYSQL = {"mysql", "mariadb"}


async def insert_if_absent(work: UnitOfWork, table: Table, values: dict[str, Any]) -> bool:
    """Insert a row unless its key exists. Return whether it was inserted. Waits for a concurrent insert of the key."""
    if work.database.dialect in _MYSQL and await _exists_locked(work, table, values):
        return False
    return bool(await work.write(_insert_statement(table, work.database.dialect), values))


async def insert_all_if_absent(work: UnitOfWork, table: Table, rows: Sequence[dict[str, Any]]) -> Sequence[bool]:
    """Insert rows unless they exist, like `insert_if_absent`. Return for each whether it was inserted.

    Of two rows with the same key, the first is inserted.
    """
    if work.database.dialect in _MYSQL:
        return [await insert_if_absent(work, table, row) for row in rows]
    return await work.write_all(_insert_statement(table, work.database.dialect), rows)


async def delete_row(work: UnitOfWork, table: Table, values: dict[str, Any]) -> None:
    """Delete the row with the same primary key."""
    await work.execute(delete(table).where(*(column == values[column.key] for column in table.primary_key)))


async def _exists_locked(work: UnitOfWork, table: Table, values: dict[str, Any]) -> bool:
    """Return whether the row exists, and lock it.

    An INSERT with an existing key takes a shared lock on it. Two transactions with such a lock would deadlock when they
    then lock the row exclusively.
    """
    same = (column == values[column.key] for column in table.primary_key)
    found = await work.execute(select(literal(1)).select_from(table).where(*same).with_for_update())
    return found.first() is not None


@cache
def _insert_statement(table: Table, dialect: str) -> Statement:
    return Statement(insert_or_ignore(table, dialect))


@cache
def insert_or_ignore(table: Table, dialect: str) -> Insert:
    """Return an INSERT that ignores rows whose key or other unique value already exists."""
    if dialect == "postgresql":
        return postgresql.insert(table).on_conflict_do_nothing()
    if dialect == "sqlite":
        return sqlite.insert(table).on_conflict_do_nothing()
        # MySQL's ON DUPLICATE KEY reports one row in both cases. IGNORE also truncates long values, so callers must
        # limit their length.
    return mysql.insert(table).prefix_with("IGNORE") if dialect in _MYSQL else insert(table)
