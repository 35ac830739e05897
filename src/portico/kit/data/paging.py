"""Keyset paging: a page is found by the last row of the one before, so that page 10,000 costs what page 1 costs."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Generic, TypeVar

import orjson
from sqlalchemy import Select, and_, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute

from portico.kit.data.work import Reader
from portico.kit.problems import Unprocessable

T = TypeVar("T")


class InvalidCursor(Unprocessable):
    code = "invalid_cursor"
    detail = "The cursor is not one that this list gave out for this order. Start again without it."


@dataclass(frozen=True, slots=True)
class Slice(Generic[T]):
    """Some rows of a list; `total` of all; `next` is the cursor of what follows, None at the end."""

    rows: Sequence[T]
    total: int
    next: str | None


@dataclass(frozen=True)
class Keyset:
    """An order that can be paged by key: columns with their direction, the last one unique.

    `name` stands in the cursor, so that one made for another order is refused.
    """

    name: str
    columns: tuple[tuple[InstrumentedAttribute[Any], bool], ...]

    @classmethod
    def by(cls, name: str, *columns: InstrumentedAttribute[Any], descending: bool = False) -> "Keyset":
        """All `columns` in one direction; the last must be unique, and none may be null."""
        return cls(name, tuple((column, descending) for column in columns))

    def ordered(self, statement: Select[Any]) -> Select[Any]:
        """`statement` in this order."""
        return statement.order_by(*(column.desc() if down else column.asc() for column, down in self.columns))

    def after(self, statement: Select[Any], cursor: str) -> Select[Any]:
        """Only what follows the row that `cursor` names. Raises InvalidCursor."""
        values = self._read(cursor)
        first, down = self.columns[0]
        return statement.where(
            # the plain bound on the first column is implied, and is what an index can seek to
            first <= values[0] if down else first >= values[0],
            or_(*(self._beyond(values, place) for place in range(len(self.columns)))),
        )

    def _beyond(self, values: list[Any], place: int) -> Any:
        column, down = self.columns[place]
        same = [self.columns[before][0] == values[before] for before in range(place)]
        return and_(*same, column < values[place] if down else column > values[place])

    def cursor(self, row: Any) -> str:
        """The cursor of what follows `row`."""
        values = [_plain(getattr(row, column.key)) for column, _ in self.columns]
        return base64.urlsafe_b64encode(orjson.dumps([self.name, *values])).rstrip(b"=").decode()

    def _read(self, cursor: str) -> list[Any]:
        try:
            name, *values = orjson.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True))
        except (ValueError, TypeError, binascii.Error) as error:
            raise InvalidCursor from error
        if name != self.name or len(values) != len(self.columns):
            raise InvalidCursor
        return [_typed(value, column) for value, (column, _) in zip(values, self.columns, strict=True)]

    async def page(
        self,
        reader: Reader,
        statement: Select[Any],
        *,
        cursor: str | None,
        skip: int,
        limit: int,
        total: int | None = None,
    ) -> Slice[Any]:
        """The rows of `statement` from `cursor` (or after `skip` rows), `limit` at most, and how many there are in all.

        `total` spares the count where the caller knows it. Raises InvalidCursor.
        """
        if total is None:
            total = await count(reader, statement)
        chosen = self.after(statement, cursor) if cursor else statement.offset(skip)
        rows = (await reader.execute(self.ordered(chosen).limit(limit + 1))).scalars().all()
        more = len(rows) > limit
        rows = rows[:limit]
        return Slice(rows, total, self.cursor(rows[-1]) if more else None)


async def count(reader: Reader, statement: Select[Any]) -> int:
    """How many rows `statement` has."""
    return int(
        (await reader.execute(select(func.count()).select_from(statement.order_by(None).subquery()))).scalar_one()
    )


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, str):
        return str(value)
    return float(value) if isinstance(value, Decimal) else value


def _typed(value: Any, column: InstrumentedAttribute[Any]) -> Any:
    kind: type = column.type.python_type
    try:
        if issubclass(kind, datetime):
            moment = datetime.fromisoformat(value)
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        if issubclass(kind, int) and isinstance(value, bool | str | float):
            raise InvalidCursor
        if issubclass(kind, str) and (not isinstance(value, str) or "\0" in value):
            raise InvalidCursor
        if isinstance(value, int) and abs(value) >= 2**63:
            raise InvalidCursor
    except (TypeError, ValueError) as error:
        raise InvalidCursor from error
    return value
