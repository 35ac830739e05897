"""The process's look-up of products in the catalog, which callers of the same moment share."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from portico.contracts.catalog import CatalogClient, ProductId, ProductSummary
from portico.kit import ServiceContext
from portico.kit.calls import BatchedLookup
from portico.kit.telemetry import request_context

_MAX_PRODUCTS: Final = 100  # products in one response of the catalog


class ProductLookup:
    """Finds products with their current prices.

    Products are public, so they are looked up on behalf of this service: callers with different tokens share a request.
    """

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self._lookup = BatchedLookup[ProductId, ProductSummary](self._fetch, max_keys=_MAX_PRODUCTS)

    async def find(self, product_ids: Iterable[ProductId]) -> dict[ProductId, ProductSummary]:
        """Return the products with these ids. Unknown ids are left out. Raises CallError."""
        return await self._lookup.find(product_ids)

    async def close(self) -> None:
        await self._lookup.close()

    async def _fetch(self, product_ids: Sequence[ProductId]) -> Mapping[ProductId, ProductSummary]:
        served = request_context.get()
        trace, request_id = (None, None) if served is None else (served.trace, served.request_id)
        return await self._context.calls(trace=trace, request_id=request_id)(CatalogClient).products(product_ids)


@asynccontextmanager
async def open_product_lookup(context: ServiceContext) -> AsyncIterator[ProductLookup]:
    """Open the look-up."""
    lookup = ProductLookup(context)
    try:
        yield lookup
    finally:
        await lookup.close()
