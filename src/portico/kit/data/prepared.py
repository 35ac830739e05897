"""Statements of hot paths: made once, and handed to the driver."""

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import asyncpg
from sqlalchemy import Dialect, Engine, Select
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi
from sqlalchemy.types import TypeEngine
from sqlalchemy.util import await_only, greenlet_spawn

from portico.kit.data.reader import Reader

Processor = Callable[[Any], Any]

_FAILURES = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # of a connection that is ended in the very moment in which a statement is sent
    AsyncAdapt_asyncpg_dbapi.Error,  # of a server that is starting up, in which the pool wants a new connection
    OSError,
)


class Prepared:
    """A statement over columns of tables whose values are named (`bindparam`), for one kind of database.

    To build such a statement anew, to find its compiled form by its structure and to make result objects costs
    SQLAlchemy four times what PostgreSQL's driver needs for the whole query. Here the statement is built and compiled
    once, and asyncpg prepares it once a connection. On other databases SQLAlchemy runs it, built only once; so it does
    where there are lists (`IN`), which compile to as many places as there are values.

    Args:
        statement: over columns of tables.
        dialect: of the engine that it runs on.
    """

    def __init__(self, statement: Select[Any], dialect: Dialect) -> None:
        self._statement = statement
        self._row = _row_type([str(column.key) for column in statement.selected_columns])
        compiled: Any = statement.compile(dialect=dialect)
        self._driven = dialect.driver == "asyncpg" and not compiled.post_compile_params
        if self._driven:
            self._text = str(compiled)
            self._binds = [(name, _bind(compiled.binds[name].type, dialect)) for name in compiled.positiontup]
            self._results = _results(statement, dialect)

    async def rows(self, reader: Reader, values: Mapping[str, Any]) -> Sequence[Any]:
        """The rows, as named tuples of the columns. Raises what `Reader.rows` does."""
        if not self._driven or not reader.is_lone:
            return await reader.rows(self._statement, values)
        given = [values[name] if process is None else process(values[name]) for name, process in self._binds]
        try:
            found = await greenlet_spawn(_fetched, reader.database.reader.sync_engine, self._text, given)
        except _FAILURES:
            # A read may be repeated: SQLAlchemy finds the same error, or a live connection, and knows what it means.
            return await reader.rows(self._statement, values)
        return [self._shaped(record) for record in found]

    def _shaped(self, record: Any) -> Any:
        row = list(record)
        for place, process in self._results:
            row[place] = process(row[place])
        return self._row._make(row)


def _fetched(engine: Engine, text: str, values: list[Any]) -> list[Any]:
    connection: Any = engine.raw_connection()
    try:
        found: list[Any] = await_only(connection.driver_connection.fetch(text, *values))
    except _FAILURES:
        connection.invalidate()  # it may be dead, also where the server still said why: nobody is to get it from the pool
        raise
    finally:
        connection.close()
    return found


def _row_type(names: list[str]) -> Any:
    return namedtuple("Row", names, rename=True)  # noqa: PYI024  # which columns there are is known at run time


def _bind(kind: TypeEngine[Any], dialect: Dialect) -> Processor | None:
    return kind.dialect_impl(dialect).bind_processor(dialect)


def _results(statement: Select[Any], dialect: Dialect) -> list[tuple[int, Processor]]:
    processors = [
        column.type.dialect_impl(dialect).result_processor(dialect, None) for column in statement.selected_columns
    ]
    return [(place, process) for place, process in enumerate(processors) if process is not None]
