"""Compiled statements for hot paths: built and compiled once, executed many times.

A `Statement` is data. `Reader.rows`, `Database.write_autocommit`, and `write`, `write_each` and `write_all` of
`UnitOfWork` execute it.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Boolean, ColumnElement, Dialect, Executable, any_, bindparam, or_
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from portico.kit._compat.sqlalchemy import CompiledStatement, compile_statement
from portico.kit.data.row_batches import RowBatchStatement, row_batch_statement


def is_due(column: Any) -> ColumnElement[bool]:
    """Return the condition that a time is before `now`, or is after `latest`, the result of `latest_due`."""
    return or_(column <= bindparam("now", type_=column.type), column > bindparam("latest", type_=column.type))


class _InList(FunctionElement[bool]):
    """Condition that a column has one of the values in a list parameter."""

    inherit_cache = True
    type = Boolean()


@compiles(_InList)
def _compile_in_list(element: _InList, compiler: Any, **options: Any) -> str:
    column, name = element.clauses.clauses[0], element.clauses.clauses[1].key
    return str(compiler.process(column.in_(bindparam(name, expanding=True)), **options))


@compiles(_InList, "postgresql")
def _compile_in_list_as_array(element: _InList, compiler: Any, **options: Any) -> str:
    column, name = element.clauses.clauses[0], element.clauses.clauses[1].key
    return str(compiler.process(column == any_(bindparam(name, type_=ARRAY(column.type))), **options))


def in_list(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """Return the condition that a column has one of the values in the list parameter `name`.

    PostgreSQL receives the list as one array, so that a `Statement` has a compiled form there.
    """
    return _InList(column, bindparam(name, type_=column.type))


class Statement:
    """Statement over tables with named values: `bindparam` names, or the names of the columns.

    SQLAlchemy builds a statement, finds its compiled form and makes result objects in four times the time that
    PostgreSQL's driver needs for the whole query. A `Statement` is built and compiled once per dialect, and asyncpg
    prepares it once per connection. See docs/decisions/0016.

    SQLAlchemy must process some statements at each execution: statements with lists, which compile to one placeholder
    per value (`IN`, and `in_list` on databases other than PostgreSQL), and statements with column defaults computed in
    Python. They have no compiled form here, and SQLAlchemy executes them. It executes all statements if the fast path
    `sqlalchemy_compiled` is switched off.
    """

    def __init__(self, source: Executable) -> None:
        self.source = source
        self._compiled: dict[tuple[str, tuple[str, ...]], CompiledStatement | None] = {}
        self._batches: dict[tuple[str, tuple[str, ...]], RowBatchStatement | None] = {}

    def compiled_for(self, dialect: Dialect, names: Mapping[str, Any]) -> CompiledStatement | None:
        """Return the compiled form for a dialect and the names of the values; None if SQLAlchemy has to execute it."""
        key = (dialect.driver, tuple(names))
        if key not in self._compiled:
            self._compiled[key] = compile_statement(self.source, dialect, list(names))
        return self._compiled[key]

    def batch_for(self, dialect: Dialect, names: Mapping[str, Any]) -> RowBatchStatement | None:
        """Return the statement that writes many rows with these names; None if they are written one by one."""
        key = (dialect.driver, tuple(names))
        if key not in self._batches:
            self._batches[key] = row_batch_statement(self.source, dialect, tuple(names))
        return self._batches[key]
