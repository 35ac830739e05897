from collections.abc import Callable, Mapping, Sequence
from typing import Any

from portico.contracts.catalog import ProductCreated, ProductDeleted, ProductId, ProductUpdated
from portico.kit import Problem, UnitOfWork
from portico.services.catalog.products.errors import SkuTaken
from portico.services.catalog.products.models import PRODUCTS, TOTALS, Product
from portico.services.catalog.products.repository import Products, forget_words, index_words, insert_new
from portico.services.catalog.products.schemas import ProductCreate
from portico.services.catalog.stock.commands import close_stock, open_stock

Check = Callable[[Product], None]


async def create_product(work: UnitOfWork, draft: ProductCreate, *, actor: str) -> Product:
    """Add a product, and its first receipt. Raises SkuTaken, UnknownCurrency, TooPrecise."""
    product = _drafted(work, draft)
    await work.insert(product, taken=SkuTaken(sku=draft.sku))
    await _begin(work, [product], actor)
    return product


async def create_products(work: UnitOfWork, drafts: Sequence[ProductCreate], *, actor: str) -> list[Product | Problem]:
    """Add those of `drafts` that can be, of each sku the first; for each the product or why not, in order.

    A few statements in all: a savepoint for each of a thousand would take many times as long.
    """
    drafted = [_drafted_or_why_not(work, draft) for draft in drafts]
    firsts: dict[str, Product] = {}
    for product in drafted:
        if isinstance(product, Product):
            firsts.setdefault(product.sku, product)
    inserted = await insert_new(work, list(firsts.values()))
    await _begin(work, [product for product in firsts.values() if product.product_id in inserted], actor)
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
        _outdate(work)
        work.publish(ProductUpdated.model_validate(_said(product)))
    return product


async def delete_product(work: UnitOfWork, product_id: ProductId, *, check: Check) -> None:
    """Delete a product that passes `check`. Raises ProductNotFound, and what `check` raises."""
    await close_stock(work, product_id)
    product = await Products(work).get(product_id, lock=True)
    check(product)
    await forget_words(work, product)
    await work.delete(product)
    _outdate(work)
    work.publish(ProductDeleted(product_id=product_id, sku=product.sku))


async def _begin(work: UnitOfWork, products: Sequence[Product], actor: str) -> None:
    """What comes with new products: their words, their stock, and the news of them."""
    await index_words(work, products)
    for product in products:
        work.publish(ProductCreated.model_validate(_said(product)))
    await open_stock(work, products, actor=actor)
    _outdate(work)


def _said(product: Product) -> dict[str, Any]:
    """What events tell of a product."""
    return {name: getattr(product, name) for name in ("product_id", "sku", "name", "category", "price", "currency")}


def _outdate(work: UnitOfWork) -> None:
    work.invalidate(PRODUCTS)
    work.invalidate(TOTALS)


def _drafted(work: UnitOfWork, draft: ProductCreate) -> Product:
    product = Product(
        sku=draft.sku,
        name=draft.name,
        description=draft.description,
        category=draft.category,
        stock_quantity=draft.stock_quantity,
        stock_entries=int(draft.stock_quantity > 0),
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
