"""The tables of products. Products and stock both use them; the tables of stock are its own."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, Boolean, Computed, Index, Integer, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, validates

from portico.contracts.catalog import ProductId
from portico.kit import Money, TableRules, identifier, revision
from portico.kit.cache import CacheTag
from portico.kit.data import ExactText, LongText, Payload
from portico.kit.foundation import fold
from portico.services.catalog.words import MAX_WORD_LENGTH, words_of

PRODUCTS = CacheTag("products", seconds=30)
"""Tag of cached product responses. A change invalidates them; the time limits how long a crash may leave one stale."""

TOTALS = CacheTag("totals", seconds=300)
"""Tag of cached product counts. A stock change affects them only when a product sells out or is restocked."""

NAME_LENGTH = 200
SKU_LENGTH = 64
CATEGORY_LENGTH = 100
PRICE_DECIMALS = 4  # the largest number of decimals of any currency


class Table(TableRules, DeclarativeBase):
    """Base of the tables of catalog."""


class Product(Table):
    """A product.

    Lists are sorted and filtered by `name_order` and `price_order`: they order alike on every database, and prices
    compare as written numbers, whatever the currency. `stock_quantity` is the available stock after the ledger entry
    number `stock_entries`. Stock updates both without a new revision, so that sales do not conflict with editors.
    """

    __tablename__ = "products"

    product_id: Mapped[ProductId] = identifier()
    sku: Mapped[str] = mapped_column(ExactText(SKU_LENGTH), unique=True)
    name: Mapped[str] = mapped_column(String(NAME_LENGTH))
    name_order: Mapped[str] = mapped_column(ExactText(NAME_LENGTH))
    description: Mapped[str] = mapped_column(LongText)
    price_minor: Mapped[int] = mapped_column(BigInteger)
    price_order: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(ExactText(3))
    category: Mapped[str] = mapped_column(ExactText(CATEGORY_LENGTH))
    stock_quantity: Mapped[int] = mapped_column(Integer)
    in_stock: Mapped[bool] = mapped_column(Boolean, Computed("stock_quantity > 0", persisted=True))
    stock_entries: Mapped[int] = mapped_column(Integer, default=0)
    attributes: Mapped[dict[str, Any]] = mapped_column(Payload)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    revision: Mapped[int] = revision()

    __table_args__ = (
        Index(None, "category", "product_id"),
        Index(None, "category", "price_order", "product_id"),
        Index(None, "price_order", "product_id"),
        Index(None, "name_order", "product_id"),
        Index(None, "in_stock", "product_id"),
    )

    @validates("name")
    def _set_name_order(self, _key: str, name: str) -> str:
        self.name_order = fold(name)[:NAME_LENGTH]
        return name

    @property
    def related_revision(self) -> int:
        """The number of the last ledger entry: responses show the stock, which changes without a new revision."""
        return self.stock_entries

    @property
    def price(self) -> Decimal:
        """The price in major units."""
        return Money(self.price_minor, self.currency).amount

    @property
    def words(self) -> list[str]:
        """The words of the search index, most relevant first."""
        return words_of(self.name, self.sku, self.description)

    def set_price(self, price: Decimal, currency: str) -> None:
        """Set the price. Raises UnknownCurrency, TooPrecise."""
        money = Money.of(price, currency)
        self.price_minor, self.currency = money.minor, money.currency
        self.price_order = price_order(price)

    def revise(self, changes: Mapping[str, Any], *, now: datetime) -> bool:
        """Apply the fields of `changes` that differ. Return whether any did. Raises UnknownCurrency, TooPrecise."""
        others = {**changes}
        price = others.pop("price", self.price), others.pop("currency", self.currency)
        is_repriced = price != (self.price, self.currency)
        if is_repriced:
            self.set_price(*price)
        if not (self.apply_changes(others) or is_repriced):
            return False
        self.updated_at = now
        return True


class ProductWord(Table):
    """A word of the search index. The lock on the product protects its words."""

    __tablename__ = "product_words"

    word: Mapped[str] = mapped_column(ExactText(MAX_WORD_LENGTH), primary_key=True)
    product_id: Mapped[ProductId] = mapped_column(primary_key=True, index=True)


def price_order(amount: Decimal) -> int:
    """Return a price as an integer that sorts as the written number: 9.99 of any currency is 99,900."""
    return int(amount.scaleb(PRICE_DECIMALS))
