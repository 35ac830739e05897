"""Product lists: filters, search by words, sorting and paging."""

import hashlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Literal

from sqlalchemy import Select, bindparam, literal_column, select

from portico.contracts.catalog import ProductId
from portico.kit import Keyset, Reader, Slice, Window
from portico.kit.cache import CacheGroup
from portico.kit.data import COUNT_LIMIT, ListQuery, Statement, count_rows
from portico.services.catalog.errors import TooManyWords
from portico.services.catalog.models import TOTALS, Product, ProductWord, price_order
from portico.services.catalog.products.schemas import COLUMNS
from portico.services.catalog.words import search_words

PRODUCTS: Any = Product.__table__
WORDS: Any = ProductWord.__table__
P, W = PRODUCTS.c, WORDS.c

MAX_SEARCH_WORDS = 10
SEARCH_COUNT_LIMIT = 1_000
"""Products up to which a search is counted for several words or with filters: each is looked up in another index too."""

Sort = Literal["newest", "oldest", "name", "-name", "price", "-price"]
SORTS: dict[Sort, Keyset] = {
    "newest": Keyset.by("newest", P.product_id, descending=True),
    "oldest": Keyset.by("oldest", P.product_id),
    "name": Keyset.by("name", P.name_order, P.product_id),
    "-name": Keyset.by("-name", P.name_order, P.product_id, descending=True),
    "price": Keyset.by("price", P.price_order, P.product_id),
    "-price": Keyset.by("-price", P.price_order, P.product_id, descending=True),
}
# Sorted by age, matches come in order from the index of the words: a page for a common word costs as little as for a rare one.
SORTS_OF_FOUND: dict[Sort, Keyset] = SORTS | {
    "newest": Keyset.by("newest", W.product_id, descending=True),
    "oldest": Keyset.by("oldest", W.product_id),
}

CONDITIONS: dict[str, Callable[[Any], Any]] = {
    "category": lambda value: P.category == value,
    "min_price": lambda value: P.price_order >= value,
    "max_price": lambda value: P.price_order <= value,
    "in_stock": lambda value: P.in_stock == value,
    "product_ids": P.product_id.in_,
}

_STATEMENTS: dict[Hashable, Statement] = {}

READ = (*(P[name] for name in COLUMNS), P.name_order, P.price_order)  # the last two are for the cursor


@dataclass(frozen=True, slots=True)
class ProductQuery:
    """Filters and order of a product list. A `search` without any word finds nothing."""

    category: str | None = None
    search: str | None = None
    min_price: Decimal | None = None
    max_price: Decimal | None = None
    in_stock: bool | None = None
    product_ids: tuple[ProductId, ...] = ()
    sort: Sort = "newest"

    @property
    def words(self) -> list[str]:
        """The words that all must match. Raises TooManyWords."""
        words = search_words(self.search or "", limit=MAX_SEARCH_WORDS + 1)
        if len(words) > MAX_SEARCH_WORDS:
            raise TooManyWords(limit=MAX_SEARCH_WORDS)
        return words

    @property
    def values(self) -> dict[str, Any]:
        """The filter values by the names in CONDITIONS."""
        given = {
            "category": self.category,
            "min_price": None if self.min_price is None else price_order(self.min_price),
            "max_price": None if self.max_price is None else price_order(self.max_price),
            "in_stock": self.in_stock,
            "product_ids": self.product_ids or None,
        }
        return {name: value for name, value in given.items() if value is not None}

    @property
    def conditions(self) -> list[Any]:
        """The SQL conditions on a product."""
        return [CONDITIONS[name](value) for name, value in self.values.items()]


async def list_products(reader: Reader, query: ProductQuery, window: Window, *, totals: CacheGroup) -> Slice[Any]:
    """Return a page of products as rows of READ; `totals` caches the counts. Raises InvalidCursor, TooManyWords."""
    words = query.words
    if query.search and not words:
        return Slice([], 0)
    is_joined = len(words) > 1 or bool(words and query.values)
    limit = SEARCH_COUNT_LIMIT if is_joined else COUNT_LIMIT

    async def count() -> bytes:
        return b"%d" % await count_rows(reader, _counted(query, words), window, limit=limit)

    async def total() -> int:
        key = f"{_filter_key(query)}{' all' if window.counts_all else ''}"
        return int(await totals.get_or_make(key, count, TOTALS.seconds))

    if words:
        found = await SORTS_OF_FOUND[query.sort].page_of_columns(reader, _rows(query, words), window, count=total)
        return replace(found, count_limit=limit)
    return await SORTS[query.sort].page_of_statement(reader, _shape(query), window, count=total)


def _shape(query: ProductQuery) -> ListQuery:
    """Return the list without a search, the most frequent one: its statements are built once."""
    names = tuple(query.values)

    def build() -> Select[Any]:
        return select(*READ).where(*(CONDITIONS[name](bindparam(name)) for name in names))

    return ListQuery(_STATEMENTS, names, build, query.values)


def _filter_key(query: ProductQuery) -> str:
    return hashlib.sha256(repr(replace(query, sort="newest")).encode()).hexdigest()


def _rows(query: ProductQuery, words: list[str]) -> Select[Any]:
    statement = _having(select(*READ).select_from(WORDS), words)
    return statement.join(PRODUCTS, P.product_id == W.product_id).where(*query.conditions)


def _counted(query: ProductQuery, words: list[str]) -> Select[Any]:
    """Return the rows to count. Only a filter of products needs their table beside the words."""
    statement: Select[Any] = select(literal_column("1"))
    conditions = query.conditions
    if not words:
        return statement.select_from(PRODUCTS).where(*conditions)
    statement = _having(statement.select_from(WORDS), words)
    if conditions:
        statement = statement.join(PRODUCTS, P.product_id == W.product_id).where(*conditions)
    return statement


def _having(statement: Select[Any], words: list[str]) -> Select[Any]:
    """Restrict `statement` to products that have all `words`.

    The words are literals, so that the planner knows how frequent each is. They contain nothing that needs quoting.
    """
    first, *more = words
    statement = statement.where(W.word == _literal(0, first))
    for number, word in enumerate(more, 1):
        other = WORDS.alias(f"word_{number}")
        statement = statement.join(
            other, (other.c.product_id == W.product_id) & (other.c.word == _literal(number, word))
        )
    return statement


def _literal(number: int, word: str) -> Any:
    return bindparam(f"word_{number}", word, type_=W.word.type, literal_execute=True)
