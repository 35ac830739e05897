"""Compiled statements for hot paths: built and compiled once, executed many times.

A `Statement` is data: `Reader.rows`, `UnitOfWork.write`, `write_each` and `write_all`, and `Database.write_alone` execute it.
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
    """Return the condition that a moment has passed at `now`, or is beyond `latest`: what `latest_due` returns."""
    return or_(column <= bindparam("now", type_=column.type), column > bindparam("latest", type_=column.type))


class _Among(FunctionElement[bool]):
    """The condition that a column is one of the values of a list parameter."""

    inherit_cache = True
    type = Boolean()


@compiles(_Among)
def _compile_among(element: _Among, compiler: Any, **options: Any) -> str:
    column, name = element.clauses.clauses[0], element.clauses.clauses[1].key
    return str(compiler.process(column.in_(bindparam(name, expanding=True)), **options))


@compiles(_Among, "postgresql")
def _compile_among_as_array(element: _Among, compiler: Any, **options: Any) -> str:
    column, name = element.clauses.clauses[0], element.clauses.clauses[1].key
    return str(compiler.process(column == any_(bindparam(name, type_=ARRAY(column.type))), **options))


def among(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """Return the condition that a column is one of the values in the list parameter `name`.

    PostgreSQL gets the list as one array, so that a `Statement` has a compiled form there.
    """
    return _Among(column, bindparam(name, type_=column.type))


class Statement:
    """Statement over tables with named values: `bindparam` names, or the names of the columns.

    Building a statement, finding its compiled form and making result objects costs SQLAlchemy four times what
    PostgreSQL's driver needs for the whole query. A `Statement` is built and compiled once per dialect, and asyncpg
    prepares it once per connection. See docs/decisions/0016.

    SQLAlchemy has to process some statements at each execution: those with lists (`IN`, and `among` elsewhere than on
    PostgreSQL), which compile to one placeholder per value, and those with column defaults computed in Python. They have no compiled form here and are
    executed by SQLAlchemy. So are all if the fast path `sqlalchemy_compiled` is switched off.
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
        """Return the form that writes many rows with these names; None if they are written one by one."""
        key = (dialect.driver, tuple(names))
        if key not in self._batches:
            self._batches[key] = row_batch_statement(self.source, dialect, tuple(names))
        return self._batches[key]
