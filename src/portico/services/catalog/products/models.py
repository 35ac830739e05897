from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, Boolean, Computed, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column, validates
from sqlalchemy.orm.attributes import flag_modified

from portico.contracts.catalog import ProductId
from portico.kit import Money, identifier, revision
from portico.kit.cache import CacheTag
from portico.kit.data import ExactText, LongText, Payload
from portico.services.catalog.models import Table
from portico.services.catalog.products.domain import LONGEST_WORD, fold, words_of

PRODUCTS = CacheTag("products", seconds=30)
"""What kept answers about products tell of. A change lets them be forgotten; the time bounds what a crash may leave."""

TOTALS = CacheTag("totals", seconds=300)
"""How many products there are of a kind: what stock does to a product changes it only where the last one goes or the first comes."""

NAME_LENGTH = 200
SKU_LENGTH = 64
CATEGORY_LENGTH = 100
PRICE_DECIMALS = 4  # the most that any currency has


class Product(Table):
    """Something that is sold.

    `name_order` and `price_order` are what lists are sorted and filtered by: the same order on every database, and for
    prices the number as it is written, whatever its currency. `stock_quantity` is what is available by the ledger's entry
    `stock_entries`; both are the stock's to write, which counts no revision: an editor need not yield to a buyer.
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
    def _put_in_order(self, _key: str, name: str) -> str:
        self.name_order = fold(name)[:NAME_LENGTH]
        return name

    @property
    def price(self) -> Decimal:
        """The price as people write it."""
        return Money(self.price_minor, self.currency).amount

    @property
    def words(self) -> list[str]:
        """What it is found by, the most telling first."""
        return words_of(self.name, self.sku, self.description)

    def cost(self, price: Decimal, currency: str) -> None:
        """Set the price. Raises UnknownCurrency, TooPrecise."""
        money = Money.of(price, currency)
        self.price_minor, self.currency = money.minor, money.currency
        self.price_order = price_order(price)

    def revise(self, changes: Mapping[str, Any], *, now: datetime) -> bool:
        """Take over what differs in `changes`, by name; whether anything did. Raises UnknownCurrency, TooPrecise."""
        differing = {name: value for name, value in changes.items() if _differ(getattr(self, name), value)}
        if not differing:
            return False
        if differing.keys() & {"price", "currency"}:
            self.cost(differing.pop("price", self.price), differing.pop("currency", self.currency))
        for name, value in differing.items():
            flag_modified(self, name)  # SQLAlchemy alone takes {"a": 1} and {"a": true} for the same and writes nothing
            setattr(self, name, value)
        self.updated_at = now
        return True


class ProductWord(Table):
    """A word by which a product is found. Rows are guarded by the lock on their product."""

    __tablename__ = "product_words"

    word: Mapped[str] = mapped_column(ExactText(LONGEST_WORD), primary_key=True)
    product_id: Mapped[ProductId] = mapped_column(primary_key=True, index=True)


def _differ(one: Any, other: Any) -> bool:
    return one != other or (isinstance(one, dict) and repr(one) != repr(other))


def price_order(amount: Decimal) -> int:
    """A price as a whole number that orders as the price is written: 9.99 of any currency is 99,900."""
    return int(amount.scaleb(PRICE_DECIMALS))
