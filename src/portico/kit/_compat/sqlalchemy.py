"""Private APIs of SQLAlchemy, written for SQLAlchemy 2.1.

A connection pool has no public hook that may wait before a connection is taken; `GatedPool` adds one. `statement_key`
is what SQLAlchemy itself finds compiled statements by.

Two fast paths: `sqlalchemy_core`, which distinguishes statements over tables from those over mapped classes, and
`sqlalchemy_compiled`, which takes the driver's statement out of SQLAlchemy's compiler.
"""

from abc import abstractmethod
from collections import namedtuple
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Dialect, Executable, Insert, Select
from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry
from sqlalchemy.types import TypeEngine
from sqlalchemy.util import await_

from portico.kit._compat import Library, is_enabled, require

_LIBRARY = Library("sqlalchemy", "2.1")
_HAS_CORE = is_enabled("sqlalchemy_core")
_HAS_COMPILED = is_enabled("sqlalchemy_compiled")

with _LIBRARY.shape():
    require(AsyncAdaptedQueuePool, "_do_get", "_do_return_conn", "_timeout")
    require(Select, "_generate_cache_key")

if _HAS_CORE:
    with _LIBRARY.shape("sqlalchemy_core"):
        require(Executable, "_propagate_attrs")

if _HAS_COMPILED:
    with _LIBRARY.shape("sqlalchemy_compiled"):
        from sqlalchemy.sql.compiler import SQLCompiler

        require(SQLCompiler, "binds", "positiontup", "post_compile_params", "insert_prefetch", "update_prefetch")
        require(Insert, "_post_values_clause")
        require(TypeEngine, "dialect_impl", "bind_processor", "result_processor")

T = TypeVar("T")

Processor = Callable[[Any], Any]


def await_in_greenlet(act: Awaitable[T]) -> T:
    """Await `act` from synchronous code that SQLAlchemy runs in a greenlet."""
    result: T = await_(act)
    return result


def needs_session(statement: Executable) -> bool:
    """Return whether only a session can execute a statement: it is about mapped objects, or the fast path is disabled."""
    return not _HAS_CORE or statement._propagate_attrs.get("compile_state_plugin") == "orm"  # noqa: SLF001  # sessions read it too


def statement_key(statement: Select[Any]) -> Hashable | None:
    """Return what a statement and its values are identified by; None if one of them cannot be compared.

    Statements that are built alike have the same key.
    """
    found = statement._generate_cache_key()  # noqa: SLF001  # no public function returns it
    if found is None or found.params:
        return None
    values = tuple(_hashable(bind.effective_value) for bind in found.bindparams)
    try:
        hash(values)
    except TypeError:
        return None
    return found.key, values


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


@dataclass(frozen=True, slots=True)
class CompiledStatement:
    """A statement in the form that a driver takes.

    Args:
        text: The SQL with the driver's placeholders.
        driver: The driver's name in SQLAlchemy.
        binds: Name and type conversion of each value, in the order of the placeholders.
        constants: Values that are part of the statement itself.
        conversions: Position and type conversion of result columns that need one.
        row: Named tuple of a result row.
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


def compile_statement(statement: Executable, dialect: Dialect, names: list[str]) -> CompiledStatement | None:
    """Return the compiled form of a statement for a dialect and the names of its values.

    None if SQLAlchemy has to process the statement at each execution, or if the fast path is disabled.
    """
    if not _HAS_COMPILED:
        return None
    compiled: Any = statement.compile(dialect=dialect, column_keys=names)  # type: ignore[attr-defined]  # all can be
    if compiled.post_compile_params or compiled.insert_prefetch or compiled.update_prefetch:
        return None
    columns = getattr(statement, "selected_columns", ())
    return CompiledStatement(
        text=str(compiled),
        driver=dialect.driver,
        binds=[(name, bind_processor(compiled.binds[name].type, dialect)) for name in compiled.positiontup],
        constants={name: bind.value for name, bind in compiled.binds.items() if not bind.required},
        conversions=_result_processors(columns, dialect),
        row=_row_type([str(column.key) for column in columns]),
    )


def _row_type(names: list[str]) -> Any:
    return namedtuple("Row", names, rename=True)  # noqa: PYI024  # the columns are known at run time only


def bind_types(statement: Executable, dialect: Dialect, names: list[str]) -> dict[str, TypeEngine[Any]] | None:
    """Return the type of each value of a statement, which SQLAlchemy infers from the columns.

    None if SQLAlchemy has to process the statement at each execution, or if the fast path is disabled.
    """
    if not _HAS_COMPILED:
        return None
    compiled: Any = statement.compile(dialect=dialect, column_keys=names)  # type: ignore[attr-defined]  # all can be
    if compiled.post_compile_params or compiled.insert_prefetch or compiled.update_prefetch:
        return None
    return {name: compiled.binds[name].type for name in names}


def may_skip_rows(statement: Insert) -> bool:
    """Return whether an INSERT can leave rows out (ON CONFLICT DO NOTHING)."""
    return statement._post_values_clause is not None  # noqa: SLF001  # no public attribute has it


def inserted_names(statement: Insert) -> list[str]:
    """Return the names of the columns that an INSERT from a SELECT writes."""
    return list(statement._select_names or ())  # noqa: SLF001  # no public attribute has them


def bind_processor(kind: TypeEngine[Any], dialect: Dialect) -> Processor | None:
    """Return the conversion of a value of this type to what the driver takes; None if it takes the value itself."""
    return kind.dialect_impl(dialect).bind_processor(dialect)


def _result_processors(columns: Sequence[Any], dialect: Dialect) -> list[tuple[int, Processor]]:
    processors = [column.type.dialect_impl(dialect).result_processor(dialect, None) for column in columns]
    return [(position, convert) for position, convert in enumerate(processors) if convert is not None]


class GatedPool(AsyncAdaptedQueuePool):
    """Pool that admits each task before it takes a connection, and calls `leave` when the connection is returned.

    SQLAlchemy's own queue gives a returned connection to the next task that asks, even if another one has waited longer.
    """

    @abstractmethod
    async def admit(self) -> Any:
        """Wait until the calling task may take a connection, and return a token. Raises SQLAlchemy's TimeoutError."""

    @abstractmethod
    def admit_now(self) -> Any:
        """Return a token if the calling task may take a connection at once, else None."""

    @abstractmethod
    def leave(self, token: Any) -> None:
        """Take back the token: its connection is in the pool again, or was not opened."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._tokens: dict[ConnectionPoolEntry, Any] = {}

    def _do_get(self) -> ConnectionPoolEntry:
        token = self.admit_now() or await_(self.admit())
        try:
            entry = super()._do_get()
        except BaseException:
            self.leave(token)
            raise
        self._tokens[entry] = token
        return entry

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        try:
            super()._do_return_conn(record)
        finally:
            if (token := self._tokens.pop(record, None)) is not None:
                self.leave(token)
