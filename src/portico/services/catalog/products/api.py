from decimal import Decimal
from typing import Annotated, Any

from fastapi import Body, Depends, Query, Request, Response

from portico.contracts.catalog import ProductId
from portico.kit import (
    Conditions,
    Context,
    InvalidCursor,
    Page,
    PreconditionFailed,
    Principal,
    Reads,
    Router,
    Work,
    permitted,
)
from portico.kit.foundation import TooPrecise, UnknownCurrency
from portico.kit.http import ProblemRead
from portico.services.catalog.errors import ProductNotFound, SkuTaken, TooManyWords
from portico.services.catalog.models import CATEGORY_LENGTH, PRODUCTS, TOTALS, Product
from portico.services.catalog.products import service
from portico.services.catalog.products.repository import Products
from portico.services.catalog.products.schemas import (
    MAX_BATCH_SIZE,
    BatchResults,
    Item,
    ProductCreate,
    ProductRead,
    ProductReplace,
    ProductUpdate,
    drafts_in,
    products_json,
)
from portico.services.catalog.products.search import ProductQuery, Sort
from portico.services.catalog.products.search import list_products as search_products

router = Router(prefix="/products", tags=["products"], description="Products: search, details, prices and changes")

ProductsWriter = Annotated[Principal, permitted("products:write")]
PriceBound = Annotated[Decimal | None, Query(ge=0, max_digits=15, decimal_places=4, allow_inf_nan=False)]
PRICE_ERRORS = (UnknownCurrency, TooPrecise)


async def _query(
    category: Annotated[str | None, Query(max_length=CATEGORY_LENGTH)] = None,
    search: Annotated[str | None, Query(max_length=200, description="Words that all must match")] = None,
    min_price: PriceBound = None,
    max_price: PriceBound = None,
    in_stock: bool | None = None,
    product_id: Annotated[
        list[ProductId] | None, Query(max_length=100, description="Restrict the list to these products")
    ] = None,
    sort: Sort = "newest",
) -> ProductQuery:
    return ProductQuery(
        category=category or None,
        search=search or None,
        min_price=min_price,
        max_price=max_price,
        in_stock=in_stock,
        product_ids=tuple(product_id or ()),
        sort=sort,
    )


@router.get("", errors=[InvalidCursor, TooManyWords], cache=PRODUCTS, framework={"response_model": list[ProductRead]})
async def list_products(
    query: Annotated[ProductQuery, Depends(_query)], page: Page, reads: Reads, context: Context
) -> Response:
    """List products. Price filters compare the written number, whatever the currency."""
    # Encoding the rows directly takes 0.15 ms for 100 products, rendering them by `response_model` 1.8 ms.
    found = await search_products(reads, query, page, totals=context.response_cache(TOTALS))
    return Response(
        products_json(found.rows, context.system.case), headers=page.headers(found), media_type="application/json"
    )


@router.get("/{product_id}", response_model=ProductRead, errors=[ProductNotFound], cache=PRODUCTS)
async def read_product(product_id: ProductId, reads: Reads) -> Product:
    """Return one product."""
    return await Products(reads).get(product_id)


@router.post("", status_code=201, response_model=ProductRead, errors=[SkuTaken, *PRICE_ERRORS])
async def create_product(
    draft: ProductCreate, caller: ProductsWriter, work: Work, request: Request, response: Response
) -> Product:
    """Create a product. `stock_quantity` is its initial stock."""
    product = await service.create_product(work, draft, actor=caller.subject)
    response.headers["location"] = f"{request.url.path}/{product.product_id}"
    return product


@router.post("/batch", body_limit=4 << 20, timeout=60, response_model=list[ProductRead | ProblemRead])
async def create_products(
    items: Annotated[list[Item], Body(max_length=MAX_BATCH_SIZE)],
    caller: ProductsWriter,
    work: Work,
    request: Request,
    context: Context,
) -> list[Product | dict[str, Any]]:
    """Create up to 1,000 products. The response has the product or the problem for each, in order; valid ones are stored."""
    outcomes = await service.create_products(work, drafts_in(items), actor=caller.subject)
    results = BatchResults(request.url.path, request.scope["portico.request_id"], context.system.case)
    return results.of(items, outcomes)


@router.put(
    "/{product_id}",
    response_model=ProductRead,
    errors=[ProductNotFound, SkuTaken, PreconditionFailed, *PRICE_ERRORS],
)
async def replace_product(
    product_id: ProductId, draft: ProductReplace, caller: ProductsWriter, work: Work, conditions: Conditions
) -> Product:
    """Replace the editable fields of a product. Stock is changed through `/inventory`."""
    return await service.update_product(work, product_id, draft.model_dump(), check=conditions.require)


@router.patch(
    "/{product_id}",
    response_model=ProductRead,
    errors=[ProductNotFound, SkuTaken, PreconditionFailed, *PRICE_ERRORS],
)
async def update_product(
    product_id: ProductId, draft: ProductUpdate, caller: ProductsWriter, work: Work, conditions: Conditions
) -> Product:
    """Change some fields of a product (JSON Merge Patch, RFC 7396). Stock is changed through `/inventory`."""
    changes = draft.model_dump(exclude_unset=True)
    return await service.update_product(work, product_id, changes, check=conditions.require)


@router.delete("/{product_id}", status_code=204, errors=[ProductNotFound, PreconditionFailed])
async def delete_product(product_id: ProductId, caller: ProductsWriter, work: Work, conditions: Conditions) -> None:
    """Delete a product. Existing reservations of it can still be shipped."""
    await service.delete_product(work, product_id, check=conditions.require)
