"""Compiled statements for hot paths: built and compiled once, executed many times.

A `Statement` is data: `Reader.rows`, `UnitOfWork.write`, `UnitOfWork.write_each` and `Database.write_alone` execute it.
"""

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Dialect, Executable
from sqlalchemy.types import TypeEngine

Processor = Callable[[Any], Any]


class Statement:
    """Statement over tables with named values: `bindparam` names, or the names of the columns.

    Building a statement, finding its compiled form and making result objects costs SQLAlchemy four times what
    PostgreSQL's driver needs for the whole query. A `Statement` is built and compiled once per dialect, and asyncpg
    prepares it once per connection. See docs/decisions/0016.

    SQLAlchemy has to process some statements at each execution: those with lists (`IN`), which compile to one
    placeholder per value, and those with column defaults computed in Python. They have no compiled form here and are
    executed by SQLAlchemy.
    """

    def __init__(self, source: Executable) -> None:
        self.source = source
        self._compiled: dict[tuple[str, tuple[str, ...]], CompiledStatement | None] = {}

    def compiled_for(self, dialect: Dialect, names: Mapping[str, Any]) -> "CompiledStatement | None":
        """Return the compiled form for a dialect and the names of the values; None if SQLAlchemy has to execute it."""
        key = (dialect.driver, tuple(names))
        if key not in self._compiled:
            self._compiled[key] = _compile(self.source, dialect, list(names))
        return self._compiled[key]


@dataclass(frozen=True, slots=True)
class CompiledStatement:
    """A statement in the form that a driver takes.

    Args:
                    text: the SQL with the driver's placeholders.
                    driver: the driver's name in SQLAlchemy.
                    binds: name and type conversion of each value, in the order of the placeholders.
                    constants: values that are part of the statement itself.
                    conversions: position and type conversion of result columns that need one.
                    row: named tuple class of a result row.
    """

    text: str
    driver: str
    binds: Sequence[tuple[str, Processor | None]]
    constants: Mapping[str, Any]
    conversions: Sequence[tuple[int, Processor]]
    row: Any

    def parameters(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return the values as the driver takes them: converted, and in the order of the placeholders."""
        named = {**self.constants, **values}
        return tuple(named[name] if convert is None else convert(named[name]) for name, convert in self.binds)

    def to_row(self, record: Any) -> Any:
        """Return a record of the driver as a named tuple."""
        values = list(record)
        for position, convert in self.conversions:
            values[position] = convert(values[position])
        return self.row._make(values)


def _compile(statement: Executable, dialect: Dialect, names: list[str]) -> CompiledStatement | None:
    compiled: Any = statement.compile(dialect=dialect, column_keys=names)  # type: ignore[attr-defined]  # all can be
    if compiled.post_compile_params or compiled.insert_prefetch or compiled.update_prefetch:
        return None
    columns = getattr(statement, "selected_columns", ())
    return CompiledStatement(
        text=str(compiled),
        driver=dialect.driver,
        binds=[(name, _bind_processor(compiled.binds[name].type, dialect)) for name in compiled.positiontup],
        constants={name: bind.value for name, bind in compiled.binds.items() if not bind.required},
        conversions=_result_processors(columns, dialect),
        row=_row_type([str(column.key) for column in columns]),
    )


def _row_type(names: list[str]) -> Any:
    return namedtuple("Row", names, rename=True)  # noqa: PYI024  # the columns are known at run time only


def _bind_processor(kind: TypeEngine[Any], dialect: Dialect) -> Processor | None:
    return kind.dialect_impl(dialect).bind_processor(dialect)


def _result_processors(columns: Sequence[Any], dialect: Dialect) -> list[tuple[int, Processor]]:
    processors = [column.type.dialect_impl(dialect).result_processor(dialect, None) for column in columns]
    return [(position, convert) for position, convert in enumerate(processors) if convert is not None]
