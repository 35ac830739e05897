"""Use cases of products."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from portico.contracts.catalog import ProductCreated, ProductDeleted, ProductId, ProductUpdated
from portico.kit import Problem, UnitOfWork
from portico.services.catalog.errors import SkuTaken
from portico.services.catalog.models import PRODUCTS, TOTALS, Product
from portico.services.catalog.products.repository import Products, delete_words, index_words, insert_new
from portico.services.catalog.products.schemas import ProductCreate
from portico.services.catalog.stock.service import close_stock, open_stock

Check = Callable[[Product], None]


async def create_product(work: UnitOfWork, draft: ProductCreate, *, actor: str) -> Product:
    """Create a product with its initial stock. Raises SkuTaken, UnknownCurrency, TooPrecise."""
    product = _new_product(work, draft)
    await work.insert(product, duplicate=SkuTaken(sku=draft.sku))
    await _after_insert(work, [product], actor)
    return product


async def create_products(work: UnitOfWork, drafts: Sequence[ProductCreate], *, actor: str) -> list[Product | Problem]:
    """Create the valid drafts, of each SKU the first. Return for each draft, in order, the product or the problem.

    The batch takes a few statements; a savepoint for each product would take many times as long.
    """
    created = [_product_or_problem(work, draft) for draft in drafts]
    firsts: dict[str, Product] = {}
    for product in created:
        if isinstance(product, Product):
            firsts.setdefault(product.sku, product)
    inserted = await insert_new(work, list(firsts.values()))
    await _after_insert(work, [product for product in firsts.values() if product.product_id in inserted], actor)
    return [
        SkuTaken(sku=each.sku) if isinstance(each, Product) and each.product_id not in inserted else each
        for each in created
    ]


async def update_product(
    work: UnitOfWork, product_id: ProductId, changes: Mapping[str, Any], *, check: Check
) -> Product:
    """Update a product that passes `check`, which is called with the row locked.

    Raises ProductNotFound, SkuTaken, UnknownCurrency, TooPrecise, and what `check` raises.
    """
    product = await Products(work).get(product_id, lock=True)
    check(product)
    before = product.words
    if product.revise(changes, now=work.now):
        await work.flush(duplicate=SkuTaken(sku=product.sku))
        if product.words != before:
            await delete_words(work, product)
            await index_words(work, [product])
        _invalidate(work)
        work.publish(ProductUpdated.model_validate(_event_fields(product)))
    return product


async def delete_product(work: UnitOfWork, product_id: ProductId, *, check: Check) -> None:
    """Delete a product that passes `check`. Raises ProductNotFound, and what `check` raises."""
    await close_stock(work, product_id)
    product = await Products(work).get(product_id, lock=True)
    check(product)
    await delete_words(work, product)
    await work.delete(product)
    _invalidate(work)
    work.publish(ProductDeleted(product_id=product_id, sku=product.sku))


async def _after_insert(work: UnitOfWork, products: Sequence[Product], actor: str) -> None:
    """Index new products, open their stock and publish their events."""
    await index_words(work, products)
    for product in products:
        work.publish(ProductCreated.model_validate(_event_fields(product)))
    await open_stock(work, products, actor=actor)
    _invalidate(work)


def _event_fields(product: Product) -> dict[str, Any]:
    """Return the fields of product events."""
    return {name: getattr(product, name) for name in ("product_id", "sku", "name", "category", "price", "currency")}


def _invalidate(work: UnitOfWork) -> None:
    work.invalidate(PRODUCTS)
    work.invalidate(TOTALS)


def _new_product(work: UnitOfWork, draft: ProductCreate) -> Product:
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
    product.set_price(draft.price, draft.currency)
    return product


def _product_or_problem(work: UnitOfWork, draft: ProductCreate) -> Product | Problem:
    try:
        return _new_product(work, draft)
    except Problem as problem:
        return problem
