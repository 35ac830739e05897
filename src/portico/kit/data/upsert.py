"""INSERT that says whether the row is new, on every database."""

from functools import cache
from typing import Any

from sqlalchemy import Insert, Table, insert, literal, select
from sqlalchemy.dialects import mysql, postgresql, sqlite

from portico.kit.data.statements import Statement
from portico.kit.data.unit_of_work import UnitOfWork

_MYSQL = {"mysql", "mariadb"}


async def insert_if_absent(work: UnitOfWork, table: Table, values: dict[str, Any]) -> bool:
    """Insert a row unless one with its key is there. Waits for another transaction that is inserting the same."""
    if work.database.dialect in _MYSQL and await _is_there(work, table, values):
        return False
    return bool(await work.write(_insert_statement(table, work.database.dialect), values))


async def _is_there(work: UnitOfWork, table: Table, values: dict[str, Any]) -> bool:
    """Look, and lock what is there: an INSERT that finds its key taken holds a shared lock on it.

    Of two who hold one and go on to lock the row for themselves, each waits for the other.
    """
    same = (column == values[column.key] for column in table.primary_key)
    found = await work.execute(select(literal(1)).select_from(table).where(*same).with_for_update())
    return found.first() is not None


@cache
def _insert_statement(table: Table, dialect: str) -> Statement:
    return Statement(insert_or_ignore(table, dialect))


@cache
def insert_or_ignore(table: Table, dialect: str) -> Insert:
    """An INSERT that passes over rows whose key, or another unique column, is there already."""
    if dialect == "postgresql":
        return postgresql.insert(table).on_conflict_do_nothing()
    if dialect == "sqlite":
        return sqlite.insert(table).on_conflict_do_nothing()
    # MySQL's ON DUPLICATE KEY reports one row for both; IGNORE also cuts values that are too long: callers bound theirs
    return mysql.insert(table).prefix_with("IGNORE") if dialect in _MYSQL else insert(table)
