"""Keyset paging: a page is found by the last row of the one before, so that page 10,000 costs what page 1 costs."""

import base64
import binascii
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Generic, TypeVar

import orjson
from sqlalchemy import BigInteger, Column, Integer, Select, TypeDecorator, and_, bindparam, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute

from portico.kit.data.reader import Reader
from portico.kit.data.statements import Statement
from portico.kit.foundation.problems import Unprocessable

T = TypeVar("T")

OrderColumn = InstrumentedAttribute[Any] | Column[Any]


class InvalidCursor(Unprocessable):
    detail = "The cursor is not one that this list gave out for this order. Start again without it."
    location = ("query", "cursor")


@dataclass(frozen=True, slots=True)
class Window:
    """The part of a list that is asked for: after `cursor`, or after `skip` rows, `limit` at most."""

    skip: int = 0
    limit: int = 100
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Slice(Generic[T]):
    """Some rows of a list, how many there are in `total`, and the cursors of what follows and what goes before."""

    rows: Sequence[T]
    total: int
    next: str | None = None
    previous: str | None = None


@dataclass(frozen=True)
class Keyset:
    """An order that can be paged by key: columns with their direction, the last one unique, none of them null.

    `name` stands in the cursor, so that one made for another order is refused.
    """

    name: str
    columns: tuple[tuple[OrderColumn, bool], ...]

    @classmethod
    def by(cls, name: str, *columns: OrderColumn, descending: bool = False) -> "Keyset":
        """All `columns` in one direction."""
        return cls(name, tuple((column, descending) for column in columns))

    async def page(
        self,
        reader: Reader,
        statement: Select[Any],
        window: Window,
        *,
        count: Callable[[], Awaitable[int]] | None = None,
    ) -> Slice[Any]:
        """The mapped rows of `statement` in `window`.

        `count` says how many there are in all, where the caller knows it for less than counting them; a list that
        ends on its first page is not counted at all. Raises InvalidCursor.
        """

        async def fetch(after: list[Any] | None, backward: bool) -> list[Any]:  # noqa: FBT001  # as the cursor says
            chosen = self._windowed(statement, after, window.limit + 1, window.skip, backward=backward)
            return list(await reader.all(chosen))

        return await self._page(window, fetch, count or partial(count_rows, reader, statement))

    async def page_of_columns(
        self,
        reader: Reader,
        statement: Select[Any],
        window: Window,
        *,
        count: Callable[[], Awaitable[int]] | None = None,
    ) -> Slice[Any]:
        """As `page`, for a statement over columns of tables: rows that have those of this order by their names."""

        async def fetch(after: list[Any] | None, backward: bool) -> list[Any]:  # noqa: FBT001  # as the cursor says
            chosen = self._windowed(statement, after, window.limit + 1, window.skip, backward=backward)
            return list(await reader.rows(chosen))

        return await self._page(window, fetch, count or partial(count_rows, reader, statement))

    async def page_of_statement(
        self, reader: Reader, chosen: "Shape", window: Window, *, count: Callable[[], Awaitable[int]]
    ) -> Slice[Any]:
        """As `page_of_columns`, for a list that is asked for often: its statements are made once for each shape."""

        async def fetch(after: list[Any] | None, backward: bool) -> list[Any]:  # noqa: FBT001  # as the cursor says
            key = (chosen.key, self.name, after is not None, backward)
            prepared = chosen.kept.get(key)
            if prepared is None:
                prepared = chosen.kept[key] = Statement(
                    self._windowed(
                        chosen.build(),
                        None if after is None else self._named(),
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
        if window.cursor is None and not more and (rows or not window.skip):
            total = window.skip + len(rows)
        else:
            total = await count()
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

    def _named(self) -> list[Any]:
        return [bindparam(f"after_{place}", type_=column.type) for place, (column, _) in enumerate(self.columns)]

    def ordered(self, statement: Select[Any], *, backward: bool = False) -> Select[Any]:
        """`statement` in this order, or in its reverse."""
        return statement.order_by(
            *(column.desc() if down is not backward else column.asc() for column, down in self.columns)
        )

    def cursor(self, row: Any, *, before: bool = False) -> str:
        """The cursor of what follows `row`, or of what goes `before` it."""
        values = [_plain(getattr(row, column.key)) for column, _ in self.columns]
        return base64.urlsafe_b64encode(orjson.dumps([self.name, int(before), *values])).rstrip(b"=").decode()

    def _from(self, statement: Select[Any], after: list[Any], *, backward: bool) -> Select[Any]:
        first, down = self.columns[0]
        return statement.where(
            # implied by what follows, and what an index can seek to
            first <= after[0] if down is not backward else first >= after[0],
            or_(*(self._beyond(after, place, backward=backward) for place in range(len(self.columns)))),
        )

    def _beyond(self, values: list[Any], place: int, *, backward: bool) -> Any:
        column, down = self.columns[place]
        same = [self.columns[before][0] == values[before] for before in range(place)]
        return and_(*same, column < values[place] if down is not backward else column > values[place])

    def _read(self, cursor: str) -> tuple[list[Any], bool]:
        try:
            name, before, *values = orjson.loads(
                base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
            )
        except (ValueError, TypeError, binascii.Error) as error:
            raise InvalidCursor from error
        if name != self.name or before not in (0, 1) or len(values) != len(self.columns):
            raise InvalidCursor
        return [_typed(value, column) for value, (column, _) in zip(values, self.columns, strict=True)], bool(before)


@dataclass(frozen=True)
class Shape:
    """One way of asking for a list: which conditions there are, and with what values.

    Args:
        kept: the statements made so far; shared by all shapes of a list, and as many as there are ways of asking.
        key: tells this way from the others.
        build: makes the statement, its values named.
        values: by their names.
    """

    kept: dict[Hashable, Statement]
    key: Hashable
    build: Callable[[], Select[Any]]
    values: Mapping[str, Any]


def newest_first(key: OrderColumn) -> Keyset:
    """Return the order by an identifier, which starts with the time of its creation, newest first."""
    return Keyset.by("newest", key, descending=True)


async def count_rows(reader: Reader, statement: Select[Any]) -> int:
    """How many rows `statement` has."""
    return int(
        (await reader.execute(select(func.count()).select_from(statement.order_by(None).subquery()))).scalar_one()
    )


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return str(value) if isinstance(value, str) else value


def _typed(value: Any, column: OrderColumn) -> Any:
    """`value` of a cursor as the column compares it. Raises InvalidCursor: what a caller sends need not be ours."""
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
