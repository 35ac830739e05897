"""Statements of hot paths: made once, and handed to the driver."""

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg
from sqlalchemy import Connection, CursorResult, Dialect, Engine, Executable
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi
from sqlalchemy.types import TypeEngine
from sqlalchemy.util import await_only, greenlet_spawn

from portico.kit.data.engine import Database
from portico.kit.data.reader import Reader

if TYPE_CHECKING:
    from portico.kit.data.unit_of_work import UnitOfWork

Processor = Callable[[Any], Any]

_FAILURES = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # of a connection that is ended in the very moment in which a statement is sent
    AsyncAdapt_asyncpg_dbapi.Error,  # of a server that is starting up, in which the pool wants a new connection
    OSError,
)


class Prepared:
    """A statement over tables whose values are named (`bindparam`), or are those of its columns.

    To build such a statement anew, to find its compiled form by its structure and to make result objects costs
    SQLAlchemy four times what PostgreSQL's driver needs for the whole query. Here the statement is built and compiled
    once for a kind of database, and asyncpg prepares it once a connection. SQLAlchemy runs it, built only once, where
    it must look at each execution: for lists (`IN`), which compile to as many places as there are values, and for
    columns with defaults made in Python.
    """

    def __init__(self, statement: Executable) -> None:
        self._statement = statement
        self._made: dict[tuple[str, tuple[str, ...]], _Made | None] = {}

    async def rows(self, reader: Reader, values: Mapping[str, Any]) -> Sequence[Any]:
        """The rows, as named tuples of the columns. Raises what `Reader.rows` does."""
        made = self._made_for(reader.database.reader.dialect, values)
        if made is None or not made.by_asyncpg or not reader.is_lone:
            return await reader.rows(self._statement, values)  # type: ignore[arg-type]  # a select, or it has no rows
        try:
            found = await greenlet_spawn(_fetched, reader.database.reader.sync_engine, made.text, made.given(values))
        except _FAILURES:
            # A read may be repeated: SQLAlchemy finds the same error, or a live connection, and knows what it means.
            return await reader.rows(self._statement, values)  # type: ignore[arg-type]  # as above
        return [made.shaped(record) for record in found]

    async def write(self, work: "UnitOfWork", values: Mapping[str, Any]) -> int:
        """Carry it out in the transaction of `work`; how many rows it changed. Raises what `execute` does."""
        return (await self._written(work, [values])).rowcount

    async def write_each(self, work: "UnitOfWork", rows: Sequence[Mapping[str, Any]]) -> None:
        """Carry it out for each of `rows`, which have the same names. Raises what `execute` does."""
        if rows:
            await self._written(work, rows)

    async def write_alone(self, database: Database, values: Mapping[str, Any]) -> int:
        """Carry it out on a server, committed by itself: without BEGIN and COMMIT, which are half of the cost."""
        made = self._made_for(database.writer.dialect, values)
        if made is None:
            raise TypeError("a statement that SQLAlchemy has to look at is written in a unit of work")
        return await greenlet_spawn(_committed, database.lone.sync_engine, made.text, tuple(made.given(values)))

    async def _written(self, work: "UnitOfWork", rows: Sequence[Mapping[str, Any]]) -> CursorResult[Any]:
        made = self._made_for(work.database.writer.dialect, rows[0])
        if made is None:
            return await work.on_connection(Connection.execute, self._statement, rows)
        return await work.on_connection(Connection.exec_driver_sql, made.text, [tuple(made.given(row)) for row in rows])

    def _made_for(self, dialect: Dialect, values: Mapping[str, Any]) -> "_Made | None":
        key = (dialect.driver, tuple(values))
        if key not in self._made:
            self._made[key] = _made(self._statement, dialect, list(values))
        return self._made[key]


@dataclass(frozen=True, slots=True)
class _Made:
    """A statement as a driver takes it: its text, the values' names and types in their order, and its results' types."""

    text: str
    by_asyncpg: bool
    binds: Sequence[tuple[str, Processor | None]]
    fixed: Mapping[str, Any]
    results: Sequence[tuple[int, Processor]]
    row: Any

    def given(self, values: Mapping[str, Any]) -> list[Any]:
        """The values as the driver takes them; those that stand in the statement itself are there already."""
        named = {**self.fixed, **values}
        return [named[name] if process is None else process(named[name]) for name, process in self.binds]

    def shaped(self, record: Any) -> Any:
        """What the driver read, as a named tuple."""
        row = list(record)
        for place, process in self.results:
            row[place] = process(row[place])
        return self.row._make(row)


def _made(statement: Executable, dialect: Dialect, names: list[str]) -> _Made | None:
    compiled: Any = statement.compile(dialect=dialect, column_keys=names)  # type: ignore[attr-defined]  # all can be
    if compiled.post_compile_params or compiled.insert_prefetch or compiled.update_prefetch:
        return None
    columns = getattr(statement, "selected_columns", ())
    return _Made(
        text=str(compiled),
        by_asyncpg=dialect.driver == "asyncpg",
        binds=[(name, _bind(compiled.binds[name].type, dialect)) for name in compiled.positiontup],
        fixed={name: bind.value for name, bind in compiled.binds.items() if not bind.required},
        results=_results(columns, dialect),
        row=_row_type([str(column.key) for column in columns]),
    )


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


def _committed(engine: Engine, text: str, values: tuple[Any, ...]) -> int:
    with engine.connect() as connection:
        return connection.exec_driver_sql(text, values).rowcount


def _row_type(names: list[str]) -> Any:
    return namedtuple("Row", names, rename=True)  # noqa: PYI024  # which columns there are is known at run time


def _bind(kind: TypeEngine[Any], dialect: Dialect) -> Processor | None:
    return kind.dialect_impl(dialect).bind_processor(dialect)


def _results(columns: Sequence[Any], dialect: Dialect) -> list[tuple[int, Processor]]:
    processors = [column.type.dialect_impl(dialect).result_processor(dialect, None) for column in columns]
    return [(place, process) for place, process in enumerate(processors) if process is not None]
