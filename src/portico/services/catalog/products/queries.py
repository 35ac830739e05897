import hashlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Literal

from sqlalchemy import Select, bindparam, func, select

from portico.contracts.catalog import ProductId
from portico.kit import Keyset, Reader, Slice, Window
from portico.kit.cache import CacheGroup
from portico.kit.data import Shape, Statement
from portico.services.catalog.products.domain import words_of
from portico.services.catalog.products.errors import TooManyWords
from portico.services.catalog.products.models import TOTALS, Product, ProductWord, price_order
from portico.services.catalog.products.repository import Products
from portico.services.catalog.products.schemas import COLUMNS

PRODUCTS: Any = Product.__table__
WORDS: Any = ProductWord.__table__
P, W = PRODUCTS.c, WORDS.c

MOST_SEARCHED = 10

Sort = Literal["newest", "oldest", "name", "-name", "price", "-price"]
SORTS: dict[Sort, Keyset] = {
    "newest": Keyset.by("newest", P.product_id, descending=True),
    "oldest": Keyset.by("oldest", P.product_id),
    "name": Keyset.by("name", P.name_order, P.product_id),
    "-name": Keyset.by("-name", P.name_order, P.product_id, descending=True),
    "price": Keyset.by("price", P.price_order, P.product_id),
    "-price": Keyset.by("-price", P.price_order, P.product_id, descending=True),
}
# by age, what has a word is found in order by the words' own key: a page of a common word costs what a rare one's does
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

_PREPARED: dict[Hashable, Statement] = {}

READ = (*(P[name] for name in COLUMNS), P.name_order, P.price_order)  # the last two for the cursor


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which products, in which order. `search` None asks for none in particular, words that are none find nothing."""

    category: str | None = None
    search: str | None = None
    min_price: Decimal | None = None
    max_price: Decimal | None = None
    in_stock: bool | None = None
    product_ids: tuple[ProductId, ...] = ()
    sort: Sort = "newest"

    @property
    def words(self) -> list[str]:
        """The words that all have to match. Raises TooManyWords."""
        words = words_of(self.search or "", limit=MOST_SEARCHED + 1)
        if len(words) > MOST_SEARCHED:
            raise TooManyWords(limit=MOST_SEARCHED)
        return words

    @property
    def values(self) -> dict[str, Any]:
        """What the columns of a product are compared with, by the names in CONDITIONS."""
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
        """What the row of a product has to fulfil."""
        return [CONDITIONS[name](value) for name, value in self.values.items()]


async def product(reader: Reader, product_id: ProductId) -> Product:
    """The product. Raises ProductNotFound."""
    return await Products(reader).get(product_id)


async def products(reader: Reader, wanted: Wanted, window: Window, *, totals: CacheGroup) -> Slice[Any]:
    """The products that are wanted, as rows of READ; `totals` keeps how many there are. Raises InvalidCursor, TooManyWords."""
    words = wanted.words
    if wanted.search and not words:
        return Slice([], 0)

    async def count() -> bytes:
        return b"%d" % (await reader.rows(_count(wanted, words)))[0][0]

    async def total() -> int:
        return int(await totals.get_or_make(_filter_key(wanted), count, TOTALS.seconds))

    if words:
        return await SORTS_OF_FOUND[wanted.sort].page_of_columns(reader, _rows(wanted, words), window, count=total)
    return await SORTS[wanted.sort].page_of_statement(reader, _shape(wanted), window, count=total)


def _shape(wanted: Wanted) -> Shape:
    """The list without words, which is what most ask for: its statements are made once."""
    names = tuple(wanted.values)

    def build() -> Select[Any]:
        return select(*READ).where(*(CONDITIONS[name](bindparam(name)) for name in names))

    return Shape(_PREPARED, names, build, wanted.values)


def _filter_key(wanted: Wanted) -> str:
    return hashlib.sha256(repr(replace(wanted, sort="newest")).encode()).hexdigest()


def _rows(wanted: Wanted, words: list[str]) -> Select[Any]:
    statement = _having(select(*READ).select_from(WORDS), words)
    return statement.join(PRODUCTS, P.product_id == W.product_id).where(*wanted.conditions)


def _count(wanted: Wanted, words: list[str]) -> Select[Any]:
    statement = select(func.count())
    conditions = wanted.conditions
    if not words:
        return statement.select_from(PRODUCTS).where(*conditions)
    statement = _having(statement.select_from(WORDS), words)
    if conditions:
        statement = statement.join(PRODUCTS, P.product_id == W.product_id).where(*conditions)
    return statement


def _having(statement: Select[Any], words: list[str]) -> Select[Any]:
    """Those of `statement` over words that have all of `words`.

    The words stand in the statement itself, where the planner sees how common each is; they are letters and digits.
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
