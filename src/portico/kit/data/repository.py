from typing import Any, ClassVar, Generic, TypeVar

from sqlalchemy import inspect
from sqlalchemy.orm import Mapper

from portico.kit.data.reader import Reader
from portico.kit.foundation.problems import NotFound

T = TypeVar("T")


class Repository(Generic[T]):
    """The SQL of one table: `class Books(Repository[Book]): table = Book; missing = BookNotFound`.

    Built from what it reads with, a Reader or a UnitOfWork. `find` returns None where there is no such row, `get`
    raises `missing` with the key under the primary key's name.
    """

    table: ClassVar[type[Any]]
    missing: ClassVar[type[NotFound]]

    def __init__(self, source: Reader) -> None:
        self.source = source

    async def find(self, key: Any, *, lock: bool = False) -> T | None:
        """The row with this primary key, or None; `lock` holds it until the transaction ends."""
        return await self.source.get(self.table, key, lock=lock)

    async def get(self, key: Any, *, lock: bool = False) -> T:
        """The row with this primary key. Raises `missing`."""
        row = await self.find(key, lock=lock)
        if row is None:
            raise self._missing(key)
        return row

    def _missing(self, key: Any) -> NotFound:
        mapper: Mapper[Any] = inspect(self.table)
        name = mapper.get_property_by_column(mapper.primary_key[0]).key
        return self.missing(**{name: key})
