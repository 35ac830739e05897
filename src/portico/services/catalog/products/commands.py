from collections.abc import Callable, Mapping, Sequence
from typing import Any

from portico.contracts.catalog import ProductId
from portico.kit.cache.topic import Topic
from portico.kit.data import UnitOfWork
from portico.kit.problems import Problem
from portico.services.catalog.products.errors import SkuTaken
from portico.services.catalog.products.models import Product
from portico.services.catalog.products.repository import Products, forget_words, index_words, insert_new
from portico.services.catalog.products.schemas import ProductCreate

PRODUCTS = Topic("products", seconds=30)
"""What kept answers about products tell of. A change lets them be forgotten; the time bounds what a crash may leave."""

Check = Callable[[Product], None]


async def create_product(work: UnitOfWork, draft: ProductCreate) -> Product:
    """Add a product. Raises SkuTaken, UnknownCurrency, TooPrecise."""
    product = _drafted(work, draft)
    await work.insert(product, taken=SkuTaken(sku=draft.sku))
    await index_words(work, [product])
    work.outdate(PRODUCTS)
    return product


async def create_products(work: UnitOfWork, drafts: Sequence[ProductCreate]) -> list[Product | Problem]:
    """Add those of `drafts` that can be, of each sku the first; for each the product or why not, in order.

    A few statements in all: a savepoint for each of a thousand would take many times as long.
    """
    drafted = [_drafted_or_why_not(work, draft) for draft in drafts]
    firsts: dict[str, Product] = {}
    for product in drafted:
        if isinstance(product, Product):
            firsts.setdefault(product.sku, product)
    inserted = await insert_new(work, list(firsts.values()))
    await index_words(work, (product for product in firsts.values() if product.product_id in inserted))
    work.outdate(PRODUCTS)
    return [
        SkuTaken(sku=each.sku) if isinstance(each, Product) and each.product_id not in inserted else each
        for each in drafted
    ]


async def revise_product(
    work: UnitOfWork, product_id: ProductId, changes: Mapping[str, Any], *, check: Check
) -> Product:
    """Change what `changes` names of a product that passes `check`, which is asked with the row locked.

    Raises ProductNotFound, SkuTaken, UnknownCurrency, TooPrecise, and what `check` raises.
    """
    product = await Products(work).get(product_id, lock=True)
    check(product)
    before = product.words
    if product.revise(changes, now=work.now):
        await work.flush(taken=SkuTaken(sku=product.sku))
        if product.words != before:
            await forget_words(work, product)
            await index_words(work, [product])
        work.outdate(PRODUCTS)
    return product


async def delete_product(work: UnitOfWork, product_id: ProductId, *, check: Check) -> None:
    """Delete a product that passes `check`. Raises ProductNotFound, and what `check` raises."""
    product = await Products(work).get(product_id, lock=True)
    check(product)
    await forget_words(work, product)
    await work.delete(product)
    work.outdate(PRODUCTS)


def _drafted(work: UnitOfWork, draft: ProductCreate) -> Product:
    product = Product(
        sku=draft.sku,
        name=draft.name,
        description=draft.description,
        category=draft.category,
        stock_quantity=draft.stock_quantity,
        attributes=draft.attributes,
        created_at=work.now,
        updated_at=work.now,
    )
    product.cost(draft.price, draft.currency)
    return product


def _drafted_or_why_not(work: UnitOfWork, draft: ProductCreate) -> Product | Problem:
    try:
        return _drafted(work, draft)
    except Problem as problem:
        return problem
