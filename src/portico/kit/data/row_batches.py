"""Statements that write many rows at once. On PostgreSQL, each column of the rows is one array.

The text is the same for any number of rows, so the driver prepares it once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BindParameter,
    Dialect,
    Executable,
    Insert,
    String,
    Text,
    TypeDecorator,
    Update,
    bindparam,
    column,
    func,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.sql.visitors import iterate, replacement_traverse
from sqlalchemy.types import TypeEngine

from portico.kit._compat.sqlalchemy import Processor, bind_processor, bind_types, inserted_names, may_skip_rows

_POSITION = "position_of_row"


@dataclass(frozen=True, slots=True)
class RowBatchStatement:
    """An INSERT or UPDATE of many rows.

    Attributes:
        text: The SQL with the driver's placeholders, one for each column.
        binds: Name and type conversion of each column or constant, in the order of the placeholders.
        constants: Values that are part of the statement itself.
        keys: Names of the values that the statement returns for each written row; empty if it returns positions; None
            if it returns nothing, because it always writes every row.
    """

    text: str
    binds: Sequence[tuple[str, Processor | None]]
    constants: Mapping[str, Any]
    keys: Sequence[str] | None

    def parameters(self, rows: Sequence[Mapping[str, Any]]) -> tuple[Any, ...]:
        """Return the columns of `rows` and the constants as the driver takes them."""
        return tuple(
            _converted([self.constants[name]], convert)[0]
            if name in self.constants
            else _converted([row[name] for row in rows], convert)
            for name, convert in self.binds
        )

    def written(self, parameters: Sequence[Any], returned: Sequence[Any], count: int) -> list[bool]:
        """Return for each row whether it was written.

        Args:
            parameters: the parameters of the statement.
            returned: the rows that the statement returned.
            count: number of rows in the parameters.
        """
        if self.keys is None:
            return [True] * count
        if not self.keys:
            positions = {position for (position,) in returned}
            return [number in positions for number in range(1, count + 1)]
        found = {tuple(each) for each in returned}
        columns = dict(zip((name for name, _ in self.binds), parameters, strict=True))
        answers = []
        for key in zip(*(columns[name] for name in self.keys), strict=True):
            answers.append(key in found)
            found.discard(key)  # if two rows have one key, the first was written
        return answers


def _converted(values: list[Any], convert: Processor | None) -> list[Any]:
    return values if convert is None else [convert(value) for value in values]


def row_batch_statement(source: Executable, dialect: Dialect, names: Sequence[str]) -> RowBatchStatement | None:
    """Return the statement that writes many rows with these names; None if this database has no such form.

    Raises:
        TypeError: `source` is neither an INSERT of given values nor an UPDATE.
    """
    if dialect.name != "postgresql":
        return None
    types = bind_types(source, dialect, list(names))
    if types is None:
        return None
    arrays = [bindparam(f"column_{name}", type_=ARRAY(_element(types[name], dialect), dimensions=1)) for name in names]
    given: Any = func.unnest(*arrays).table_valued(
        *(column(name, types[name]) for name in names), with_ordinality=_POSITION
    )
    rows = given.render_derived()
    keys: list[str] | None = []
    if isinstance(source, Insert) and source.select is not None:
        statement, keys = _insert_selected(source, source.select, rows)
    elif isinstance(source, Insert):
        statement, keys = _insert(source, rows, names)
    elif isinstance(source, Update):
        statement = _update(source, rows, names)
    else:
        raise TypeError(f"Only INSERT and UPDATE can write many rows, not {type(source).__name__}.")
    compiled: Any = statement.compile(dialect=dialect)  # type: ignore[attr-defined]
    order = [name.removeprefix("column_") for name in compiled.positiontup]
    constants = {name: bind.value for name, bind in compiled.binds.items() if not bind.required}
    kinds = types | {name: compiled.binds[name].type for name in constants}
    binds = [(name, bind_processor(kinds[name], dialect)) for name in order]
    return RowBatchStatement(str(compiled), binds, constants, keys)


def _element(kind: TypeEngine[Any], dialect: Dialect) -> TypeEngine[Any]:
    """Return the type of an array's elements. It has no length limit, because a cast would truncate long values."""
    plain = kind
    while isinstance(plain, TypeDecorator):
        plain = plain.load_dialect_impl(dialect)
    return Text() if isinstance(plain, String) else kind


def _insert(source: Insert, rows: Any, names: Sequence[str]) -> tuple[Executable, list[str] | None]:
    values = select(*(rows.c[name] for name in names)).order_by(rows.c[_POSITION])
    statement = source.from_select(list(names), values, include_defaults=False)
    if not may_skip_rows(source):
        return statement, None
    table: Any = source.table
    keys = list(table.primary_key.columns)
    return statement.returning(*keys), [each.key for each in keys]


def _insert_selected(source: Insert, selected: Any, rows: Any) -> tuple[Executable, list[str]]:
    """Return an INSERT of given values under a condition, `INSERT … SELECT :a, :b WHERE …`, for many rows."""
    names = dict(zip(inserted_names(source), (each.key for each in selected.selected_columns), strict=True))
    values = _with_rows(selected, rows).order_by(rows.c[_POSITION])
    table: Any = source.table
    keys = list(table.primary_key.columns)
    statement = source.from_select(list(names), values, include_defaults=False).returning(*keys)
    return statement, [names[each.key] for each in keys]


def _with_rows(statement: Any, rows: Any) -> Any:
    """Return a statement that reads the values of `rows` in place of its parameters."""

    def replace(element: Any, **_: Any) -> Any:
        is_given = isinstance(element, BindParameter) and element.key in rows.c
        return rows.c[element.key] if is_given else None

    return replacement_traverse(statement, {}, replace)


def _update(source: Update, rows: Any, names: Sequence[str]) -> Executable:
    own = {each.key for each in iterate(source) if isinstance(each, BindParameter)}
    table: Any = source.table
    statement = source.values({table.c[name]: rows.c[name] for name in names if name not in own})
    returning: Executable = _with_rows(statement, rows).returning(rows.c[_POSITION])
    return returning
