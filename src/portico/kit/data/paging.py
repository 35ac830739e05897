"""Keyset paging: a page starts after the last row of the previous one, so page 10,000 costs as much as page 1."""

import base64
import binascii
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Generic, TypeVar

import orjson
from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    Select,
    TypeDecorator,
    and_,
    bindparam,
    func,
    literal_column,
    or_,
    select,
)
from sqlalchemy.orm import InstrumentedAttribute

from portico.kit._compat.sqlalchemy import statement_key
from portico.kit.data.reader import Reader
from portico.kit.data.statements import Statement
from portico.kit.data.totals import COUNT_LIMIT
from portico.kit.foundation.problems import Unprocessable

T = TypeVar("T")
R = TypeVar("R")

OrderColumn = InstrumentedAttribute[Any] | Column[Any]


class InvalidCursor(Unprocessable):
    detail = "The cursor does not belong to this list and order. Start again without it."
    location = ("query", "cursor")


@dataclass(frozen=True, slots=True)
class Window:
    """The requested part of a list: up to `limit` rows after `cursor`, or after `skip` rows.

    `counts_all` requests the exact total for every page. Without it, rows are counted up to `COUNT_LIMIT`, and are not
    counted after a cursor.
    """

    skip: int = 0
    limit: int = 100
    cursor: str | None = None
    counts_all: bool = False


@dataclass(frozen=True, slots=True)
class Slice(Generic[T]):
    """Some rows of a list, the number of all rows in `total`, and the cursors of the next and the previous page.

    `total` is None if the rows were not counted. A total above `count_limit` is a lower bound, unless `counts_all` was
    set in the window.
    """

    rows: Sequence[T]
    total: int | None
    next: str | None = None
    previous: str | None = None
    count_limit: int = COUNT_LIMIT

    def with_rows(self, rows: Sequence[R]) -> "Slice[R]":
        """Return this slice with `rows` instead of its own, such as their response models."""
        return Slice(rows, self.total, self.next, self.previous, self.count_limit)


@dataclass(frozen=True)
class Keyset:
    """An order that can be paged by key: columns with their direction, the last one unique, none nullable.

    The cursor contains `name`, so that a cursor of another order is rejected.
    """

    name: str
    columns: tuple[tuple[OrderColumn, bool], ...]

    @classmethod
    def by(cls, name: str, *columns: OrderColumn, descending: bool = False) -> "Keyset":
        """Return an order of `columns` in the same direction."""
        return cls(name, tuple((column, descending) for column in columns))

    async def page(
        self,
        reader: Reader,
        statement: Select[Any],
        window: Window,
        *,
        count: Callable[[], Awaitable[int]] | None = None,
    ) -> Slice[Any]:
        """Return the mapped rows of `statement` in `window`.

        Args:
            reader: executes the statements.
            statement: selects mapped objects.
            window: the requested part.
            count: returns the number of all rows, if that is cheaper than counting them. It is not called for a list
                that ends on its first page. It is not called after a cursor, unless `counts_all` is set.

        Raises:
            InvalidCursor: the cursor belongs to another order or is malformed.
        """

        async def fetch(after: list[Any] | None, backward: bool) -> list[Any]:  # noqa: FBT001  # called positionally
            chosen = self._windowed(statement, after, window.limit + 1, window.skip, backward=backward)
            return list(await reader.all(chosen))

        return await self._page(window, fetch, count or partial(total_rows, reader, statement, window))

    async def page_of_columns(
        self,
        reader: Reader,
        statement: Select[Any],
        window: Window,
        *,
        count: Callable[[], Awaitable[int]] | None = None,
    ) -> Slice[Any]:
        """Do the same as `page` for a statement over table columns. Its rows must have the columns of the order."""

        async def fetch(after: list[Any] | None, backward: bool) -> list[Any]:  # noqa: FBT001  # called positionally
            chosen = self._windowed(statement, after, window.limit + 1, window.skip, backward=backward)
            return list(await reader.rows(chosen))

        return await self._page(window, fetch, count or partial(total_rows, reader, statement, window))

    async def page_of_statement(
        self, reader: Reader, chosen: "ListQuery", window: Window, *, count: Callable[[], Awaitable[int]]
    ) -> Slice[Any]:
        """Do the same as `page_of_columns` for a hot list. Statements are compiled once per combination of filters."""

        async def fetch(after: list[Any] | None, backward: bool) -> list[Any]:  # noqa: FBT001  # called positionally
            key = (chosen.key, self.name, after is not None, backward)
            prepared = chosen.statements.get(key)
            if prepared is None:
                prepared = chosen.statements[key] = Statement(
                    self._windowed(
                        chosen.build(),
                        None if after is None else self._parameters(),
                        bindparam("window_limit", type_=Integer),
                        bindparam("window_skip", type_=Integer),
                        backward=backward,
                    )
                )
            values = {**chosen.values, "window_limit": window.limit + 1, "window_skip": window.skip}
            values |= {f"after_{place}": value for place, value in enumerate(after or ())}
            return list(await reader.rows(prepared, values))

        return await self._page(window, fetch, count)

    async def _page(
        self,
        window: Window,
        fetch: Callable[[list[Any] | None, bool], Awaitable[list[Any]]],
        count: Callable[[], Awaitable[int]],
    ) -> Slice[Any]:
        after, backward = (None, False) if window.cursor is None else self._read(window.cursor)
        rows = await fetch(after, backward)
        more = len(rows) > window.limit
        rows = rows[: window.limit]
        if backward:
            rows.reverse()
        total: int | None
        if window.cursor is None and not more and (rows or not window.skip):
            total = window.skip + len(rows)
        elif window.cursor is None or window.counts_all:
            total = await count()
        else:
            total = None
        return Slice(
            rows,
            total,
            next=self.cursor(rows[-1]) if rows and (more or backward) else None,
            previous=self.cursor(rows[0], before=True) if rows and window.cursor and (more or not backward) else None,
        )

    def _windowed(
        self, statement: Select[Any], after: list[Any] | None, limit: Any, skip: Any, *, backward: bool
    ) -> Select[Any]:
        if after is None:
            return self.ordered(statement).offset(skip).limit(limit)
        return self.ordered(self._from(statement, after, backward=backward), backward=backward).limit(limit)

    def _parameters(self) -> list[Any]:
        return [bindparam(f"after_{place}", type_=column.type) for place, (column, _) in enumerate(self.columns)]

    def ordered(self, statement: Select[Any], *, backward: bool = False) -> Select[Any]:
        """Return `statement` in this order, or in reverse."""
        return statement.order_by(
            *(column.desc() if down is not backward else column.asc() for column, down in self.columns)
        )

    def cursor(self, row: Any, *, before: bool = False) -> str:
        """Return the cursor for the rows after `row`, or `before` it."""
        return _cursor(self.name, [_to_json(getattr(row, column.key)) for column, _ in self.columns], before=before)

    def _from(self, statement: Select[Any], after: list[Any], *, backward: bool) -> Select[Any]:
        first, down = self.columns[0]
        return statement.where(
            # Redundant with the next condition, but an index can seek to it.
            first <= after[0] if down is not backward else first >= after[0],
            or_(*(self._after(after, place, backward=backward) for place in range(len(self.columns)))),
        )

    def _after(self, values: list[Any], place: int, *, backward: bool) -> Any:
        column, down = self.columns[place]
        same = [self.columns[before][0] == values[before] for before in range(place)]
        return and_(*same, column < values[place] if down is not backward else column > values[place])

    def _read(self, cursor: str) -> tuple[list[Any], bool]:
        values, backward = _read_cursor(cursor, self.name, len(self.columns))
        return [_parse_value(value, column) for value, (column, _) in zip(values, self.columns, strict=True)], backward


def slice_of_list(rows: Sequence[T], window: Window, *, name: str, key: Callable[[T], str]) -> Slice[T]:
    """Return the part of a short list that a window selects.

    Args:
        rows: the whole list, in its order.
        window: the requested part.
        name: name of the list in cursors, so that a cursor of another list is rejected.
        key: returns the value that identifies a row in cursors.

    Raises:
        InvalidCursor: the cursor belongs to another list, is malformed, or its row is gone.
    """
    start, stop = window.skip, window.skip + window.limit
    if window.cursor is not None:
        [place], backward = _read_cursor(window.cursor, name, 1)
        found = next((index for index, row in enumerate(rows) if key(row) == place), None)
        if found is None:
            raise InvalidCursor
        start, stop = (max(found - window.limit, 0), found) if backward else (found + 1, found + 1 + window.limit)
    chosen = rows[start:stop]
    return Slice(
        chosen,
        len(rows),
        next=_cursor(name, [key(chosen[-1])]) if chosen and stop < len(rows) else None,
        previous=_cursor(name, [key(chosen[0])], before=True) if chosen and start and window.cursor else None,
    )


def _cursor(name: str, values: Sequence[Any], *, before: bool = False) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([name, int(before), *values])).rstrip(b"=").decode()


def _read_cursor(cursor: str, name: str, length: int) -> tuple[list[Any], bool]:
    """Return the values of a cursor, and whether it selects the rows before them. Raises InvalidCursor."""
    try:
        found, before, *values = orjson.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True))
    except (ValueError, TypeError, binascii.Error) as error:
        raise InvalidCursor from error
    if found != name or before not in (0, 1) or len(values) != length:
        raise InvalidCursor
    return values, bool(before)


@dataclass(frozen=True)
class ListQuery:
    """One combination of a list's filters, with their values.

    Args:
        statements: compiled statements, shared by all combinations of a list.
        key: identifies the combination.
        build: builds its statement with named values.
        values: the values by name.
    """

    statements: dict[Hashable, Statement]
    key: Hashable
    build: Callable[[], Select[Any]]
    values: Mapping[str, Any]


def newest_first(key: OrderColumn) -> Keyset:
    """Return the order by an identifier, newest first. Identifiers start with the time of their creation."""
    return Keyset.by("newest", key, descending=True)


async def total_rows(reader: Reader, statement: Select[Any], window: Window) -> int:
    """Return the number of rows like `count_rows`. Do not count a list again that was long within `REMEMBERED_FOR`."""
    counted = count_statement(statement, window)
    key = None if window.counts_all else statement_key(counted)
    long_lists, now = reader.database.long_lists, reader.clock.monotonic()
    if key is not None and long_lists.has(key, now):
        return COUNT_LIMIT + 1
    count = await _count(reader, counted)
    if key is not None and count > COUNT_LIMIT:
        long_lists.add(key, now)
    return count


async def count_rows(reader: Reader, statement: Select[Any], window: Window, *, limit: int = COUNT_LIMIT) -> int:
    """Return the number of rows of `statement`: all if `counts_all` is set, else at most `limit` + 1."""
    return await _count(reader, count_statement(statement, window, limit=limit))


async def _count(reader: Reader, counted: Select[Any]) -> int:
    [(count,)] = await reader.rows(counted)
    return int(count)


def count_statement(statement: Select[Any], window: Window, *, limit: int = COUNT_LIMIT) -> Select[Any]:
    """Return the statement of `count_rows`."""
    rows: Select[Any] = statement.order_by(None).with_only_columns(
        literal_column("1").label("one"), maintain_column_froms=True
    )
    return select(func.count()).select_from((rows if window.counts_all else rows.limit(limit + 1)).subquery())


def _to_json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return str(value) if isinstance(value, str) else value


def _parse_value(value: Any, column: OrderColumn) -> Any:
    """Return a cursor's value in the type of its column. Raises InvalidCursor if the value does not fit."""
    stored = column.type.impl_instance if isinstance(column.type, TypeDecorator) else column.type
    kind: type = stored.python_type
    try:
        if issubclass(kind, datetime):
            moment = datetime.fromisoformat(value)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidCursor from error
    if issubclass(kind, str):
        fits = isinstance(value, str) and "\0" not in value
    elif issubclass(kind, bool):
        fits = isinstance(value, bool)
    else:
        bits = 63 if isinstance(stored, BigInteger) else 31
        fits = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**bits
    if not fits:
        raise InvalidCursor
    return value
