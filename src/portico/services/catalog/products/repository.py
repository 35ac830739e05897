"""SQL of products and their search index."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import delete, inspect, select

from portico.kit import Repository, UnitOfWork
from portico.kit.data import insert_or_ignore, newest_first
from portico.services.catalog.errors import ProductNotFound
from portico.services.catalog.models import Product, ProductWord


class Products(Repository[Product]):
    model, not_found, order = Product, ProductNotFound, newest_first(Product.product_id)


async def insert_new(work: UnitOfWork, products: Sequence[Product]) -> set[str]:
    """Insert the products whose SKU is free, in two statements. Return the ids of the inserted ones.

    They are inserted in order of SKU, so that two batches with common SKUs cannot deadlock.
    """
    if not products:
        return set()
    table: Any = Product.__table__
    rows = [_row(product) for product in sorted(products, key=lambda product: product.sku)]
    await work.execute(insert_or_ignore(table, work.database.dialect), rows)
    ids = [product.product_id for product in products]
    return set(await work.all(select(Product.product_id).where(Product.product_id.in_(ids))))


async def index_words(work: UnitOfWork, products: Iterable[Product]) -> None:
    """Add new products to the search index."""
    rows = [{"word": word, "product_id": product.product_id} for product in products for word in product.words]
    if rows:
        await work.execute(ProductWord.__table__.insert(), rows)  # type: ignore[attr-defined]


async def delete_words(work: UnitOfWork, product: Product) -> None:
    """Remove a locked product from the search index."""
    await work.execute(delete(ProductWord).where(ProductWord.product_id == product.product_id))


def _row(product: Product) -> dict[str, Any]:
    columns = inspect(Product).columns
    values = {column.key: getattr(product, column.key) for column in columns if column.computed is None}
    return {**values, "revision": 1}
