"""Base class of repositories: find, get, page and add the rows of one table."""

from collections.abc import Sequence
from functools import cache
from typing import Any, ClassVar, Generic, TypeVar

from sqlalchemy import ColumnElement, Select, insert, inspect, select, true
from sqlalchemy.orm import InstrumentedAttribute, Mapper

from portico.kit.data.paging import Keyset, Slice, Window
from portico.kit.data.reader import Reader
from portico.kit.data.statements import Statement
from portico.kit.data.unit_of_work import UnitOfWork
from portico.kit.foundation.problems import NotFound

T = TypeVar("T")


class OpenedForReading(TypeError):
    """A repository that was created with a Reader was asked to write or lock."""


class Repository(Generic[T]):
    """All SQL of one table. With a Reader it reads; with a UnitOfWork it also locks and writes.

    A subclass declares the model, the error for a missing row and the default order::

        class Loans(Repository[Loan]):
            model, not_found, order = Loan, LoanNotFound, newest_first(Loan.loan_id)

    It overrides `visible_to` if callers see only some rows.
    """

    model: ClassVar[type[Any]]
    not_found: ClassVar[type[NotFound]]
    order: ClassVar[Keyset]

    def __init__(self, source: Reader) -> None:
        self.source = source

    def visible_to(self, caller: Any) -> ColumnElement[bool]:  # noqa: ARG002  # a hook
        """Return the condition for the rows that `caller` may see. By default all rows are visible."""
        return true()

    @property
    def work(self) -> UnitOfWork:
        """The unit of work of a repository that writes. Raises OpenedForReading."""
        if not isinstance(self.source, UnitOfWork):
            raise OpenedForReading(
                f"{type(self).__name__} was created with a Reader. Create it with a unit of work to write or lock."
            )
        return self.source

    async def find(self, key: Any, *, lock: bool = False) -> T | None:
        """Return the row with this primary key, or None. With `lock` it stays locked until the transaction ends."""
        source = self.work if lock else self.source
        return await source.get(self.model, key, lock=lock)

    async def get(self, key: Any, *, lock: bool = False) -> T:
        """Return the row with this primary key. Raises `not_found`."""
        return self._found(key, await self.find(key, lock=lock))

    async def get_visible(self, key: Any, caller: Any, *, lock: bool = False) -> T:
        """Return the row with this primary key if `caller` may see it. Raises `not_found` otherwise."""
        statement: Select[Any] = select(self.model).where(self._key_column() == key, self.visible_to(caller))
        if lock:
            statement = statement.with_for_update().execution_options(populate_existing=True)
        return self._found(key, await (self.work if lock else self.source).one(statement))

    async def page(
        self, window: Window, *conditions: ColumnElement[bool] | None, order: Keyset | None = None
    ) -> Slice[T]:
        """Return a page of the rows that meet all conditions.

        Args:
            window: the requested part of the list.
            conditions: conditions for the rows. None means no condition, such as an absent filter.
            order: order of the list, if not the default one.

        Raises:
            InvalidCursor: the cursor belongs to another order or list.
        """
        statement: Select[Any] = select(self.model).where(*(each for each in conditions if each is not None))
        return await (order or self.order).page(self.source, statement, window)

    async def page_visible(
        self, window: Window, caller: Any, *conditions: ColumnElement[bool] | None, order: Keyset | None = None
    ) -> Slice[T]:
        """Return a page of the rows that `caller` may see and that meet all conditions. Raises InvalidCursor."""
        return await self.page(window, self.visible_to(caller), *conditions, order=order)

    def add(self, row: T) -> T:
        """Add a row to the unit of work and return it."""
        self.work.add(row)
        return row

    async def insert_all(self, rows: Sequence[T]) -> None:
        """Insert new rows with one prepared statement. It bypasses the session, which then does not know the rows.

        Every column except the revision needs a value. The revision becomes 1.
        """
        mapper: Mapper[Any] = inspect(self.model)
        revision = mapper.version_id_col
        if revision is not None:
            for row in rows:
                setattr(row, mapper.get_property_by_column(revision).key, 1)
        values = [{each.columns[0].key: getattr(row, each.key) for each in mapper.column_attrs} for row in rows]
        await self.work.write_each(_insert_statement(mapper), values)

    def _found(self, key: Any, row: T | None) -> T:
        if row is None:
            raise self.not_found(**{self._key_column().key: key})
        return row

    def _key_column(self) -> InstrumentedAttribute[Any]:
        mapper: Mapper[Any] = inspect(self.model)
        column: InstrumentedAttribute[Any] = mapper.get_property_by_column(mapper.primary_key[0]).class_attribute
        return column


@cache
def _insert_statement(mapper: Mapper[Any]) -> Statement:
    table: Any = mapper.local_table
    return Statement(insert(table))
