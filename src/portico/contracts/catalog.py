"""What other services may know of catalog: its products by their ids."""

from collections.abc import Iterable
from decimal import Decimal

from portico.kit.calls.client import Client
from portico.kit.calls.summary import Summary
from portico.kit.ids import Identifier

_MOST_AT_ONCE = 100  # what one request may ask for by id


class ProductId(Identifier, prefix="prod"):
    """A product."""


class ProductSummary(Summary):
    """A product as other services see it. `price` is a number of `currency`."""

    product_id: ProductId
    sku: str
    name: str
    price: Decimal
    currency: str
    category: str
    stock_quantity: int


class CatalogClient(Client, service="catalog"):
    """Asks catalog. Prices are those of the moment of asking."""

    async def product(self, product_id: ProductId) -> ProductSummary:
        """The product. Raises Refused with status 404 where there is none."""
        return await self.get(f"/products/{product_id}", answer=ProductSummary)

    async def products(self, product_ids: Iterable[ProductId]) -> dict[ProductId, ProductSummary]:
        """The products with these ids, by id; those that there are not are left out."""
        wanted = list(dict.fromkeys(product_ids))
        found: dict[ProductId, ProductSummary] = {}
        for start in range(0, len(wanted), _MOST_AT_ONCE):
            some = wanted[start : start + _MOST_AT_ONCE]
            answer = await self.get(
                "/products", params={"product_id": some, "limit": _MOST_AT_ONCE}, answer=list[ProductSummary]
            )
            found.update((product.product_id, product) for product in answer)
        return found
