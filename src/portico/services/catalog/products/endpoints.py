from decimal import Decimal
from typing import Annotated

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
from portico.services.catalog.products import commands, queries
from portico.services.catalog.products.errors import ProductNotFound, SkuTaken, TooManyWords
from portico.services.catalog.products.models import CATEGORY_LENGTH, PRODUCTS, TOTALS
from portico.services.catalog.products.queries import Sort, Wanted
from portico.services.catalog.products.schemas import (
    LARGEST_BATCH,
    BatchAnswer,
    Item,
    ProductCreate,
    ProductRead,
    ProductReplace,
    ProductUpdate,
    drafts_in,
    products_json,
)

router = Router(prefix="/products", tags=["products"])

MayWrite = Annotated[Principal, permitted("products:write")]
PriceBound = Annotated[Decimal | None, Query(ge=0, max_digits=15, decimal_places=4, allow_inf_nan=False)]
BAD_PRICE = (UnknownCurrency, TooPrecise)


async def _wanted(
    category: Annotated[str | None, Query(max_length=CATEGORY_LENGTH)] = None,
    search: Annotated[str | None, Query(max_length=200, description="Words that all have to be in it")] = None,
    min_price: PriceBound = None,
    max_price: PriceBound = None,
    in_stock: bool | None = None,
    product_id: Annotated[list[ProductId] | None, Query(max_length=100, description="Only these")] = None,
    sort: Sort = "newest",
) -> Wanted:
    return Wanted(
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
    wanted: Annotated[Wanted, Depends(_wanted)], page: Page, reads: Reads, context: Context
) -> Response:
    """Find products. Bounds of price compare the number as it is written, whatever the currency."""
    found = await queries.products(reads, wanted, page.window, totals=context.response_cache(TOTALS))
    return Response(products_json(found.rows, context.case), headers=page.headers(found), media_type="application/json")


@router.get("/{product_id}", errors=[ProductNotFound], cache=PRODUCTS)
async def read_product(product_id: ProductId, reads: Reads, seen: Conditions) -> ProductRead:
    """One product."""
    product = await queries.product(reads, product_id)
    seen.tag(product, shows=product.stock_entries)
    return ProductRead.of(product)


@router.post("", status_code=201, errors=[SkuTaken, *BAD_PRICE])
async def create_product(
    draft: ProductCreate, caller: MayWrite, work: Work, seen: Conditions, request: Request, response: Response
) -> ProductRead:
    """Add a product. `stock_quantity` is its first receipt."""
    product = await commands.create_product(work, draft, actor=caller.subject)
    seen.tag(product, shows=product.stock_entries)
    response.headers["location"] = f"{request.url.path}/{product.product_id}"
    return ProductRead.of(product)


@router.post("/batch", body_limit=4 << 20, timeout=60, framework={"response_model": list[ProductRead | ProblemRead]})
async def create_products(
    items: Annotated[list[Item], Body(max_length=LARGEST_BATCH)],
    caller: MayWrite,
    work: Work,
    request: Request,
    context: Context,
) -> Response:
    """Add up to a thousand products: for each, in order, the product or the problem. Good ones are kept."""
    outcomes = await commands.create_products(work, drafts_in(items), actor=caller.subject)
    answer = BatchAnswer(request.url.path, request.scope["portico.request_id"], context.case)
    return Response(answer.render(items, outcomes), media_type="application/json")


@router.put("/{product_id}", errors=[ProductNotFound, SkuTaken, PreconditionFailed, *BAD_PRICE])
async def replace_product(
    product_id: ProductId, draft: ProductReplace, caller: MayWrite, work: Work, seen: Conditions
) -> ProductRead:
    """Replace what may be edited of a product; stock changes through `/inventory`."""
    product = await commands.revise_product(work, product_id, draft.model_dump(), check=seen.require)
    seen.tag(product, shows=product.stock_entries)
    return ProductRead.of(product)


@router.patch("/{product_id}", errors=[ProductNotFound, SkuTaken, PreconditionFailed, *BAD_PRICE])
async def update_product(
    product_id: ProductId, draft: ProductUpdate, caller: MayWrite, work: Work, seen: Conditions
) -> ProductRead:
    """Change some of a product (RFC 7396 for its own members); stock changes through `/inventory`."""
    changes = draft.model_dump(exclude_unset=True)
    product = await commands.revise_product(work, product_id, changes, check=seen.require)
    seen.tag(product, shows=product.stock_entries)
    return ProductRead.of(product)


@router.delete("/{product_id}", status_code=204, errors=[ProductNotFound, PreconditionFailed])
async def delete_product(product_id: ProductId, caller: MayWrite, work: Work, seen: Conditions) -> None:
    """Delete a product. What is reserved of it still ships."""
    await commands.delete_product(work, product_id, check=seen.require)
