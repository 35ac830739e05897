"""What other services may know of catalog: its products, their stock, and what happens to both."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Literal

from portico.kit import Amount, Client, Event, Identifier, Summary

_MOST_AT_ONCE = 100  # what one request may ask for by id


class ProductId(Identifier, prefix="prod"):
    """A product."""


class ReservationId(Identifier, prefix="rsv"):
    """Items that are held for somebody; the one who holds them makes the id."""


StockKind = Literal["receipt", "adjustment", "reservation", "release", "shipment", "return"]
"""Why stock changed."""

ReservationStatus = Literal["reserved", "confirmed", "released", "expired", "shipped", "returned"]


class ProductCreated(Event, type="product.created", version=1, aggregate="product_id"):
    """A product is for sale. `price` is a number of `currency`."""

    product_id: ProductId
    sku: str
    name: str
    category: str
    price: Amount
    currency: str


class ProductUpdated(Event, type="product.updated", version=1, aggregate="product_id"):
    """A product is another one now; what it says is how it is, whatever changed. Stock is none of it."""

    product_id: ProductId
    sku: str
    name: str
    category: str
    price: Amount
    currency: str


class ProductDeleted(Event, type="product.deleted", version=1, aggregate="product_id"):
    """A product is no longer for sale. What was reserved of it still ships."""

    product_id: ProductId
    sku: str


class InventoryUpdated(Event, type="inventory.updated", version=1, aggregate="product_id"):
    """There is more or less of a product, or more or less of it is reserved.

    One event may stand for several changes that were committed together: `kinds` names what they were, and `number` is
    that of the ledger's last entry; an event with a smaller one is out of date.
    """

    product_id: ProductId
    on_hand: int
    reserved: int
    available: int
    kinds: list[StockKind]
    number: int


class InventoryLow(Event, type="inventory.low", version=1, aggregate="product_id"):
    """What is available of a product fell to `threshold` or below."""

    product_id: ProductId
    available: int
    threshold: int


class ProductSummary(Summary):
    """A product as other services see it. `price` is a number of `currency`."""

    product_id: ProductId
    sku: str
    name: str
    price: Decimal
    currency: str
    category: str
    stock_quantity: int


class ReservedItem(Summary):
    """So many of a product."""

    product_id: ProductId
    quantity: int


class ReservationSummary(Summary):
    """A reservation as other services see it. `expires_at` is None once it is confirmed or over."""

    reservation_id: ReservationId
    status: ReservationStatus
    items: list[ReservedItem]
    expires_at: datetime | None


class CatalogClient(Client, service="catalog"):
    """Asks catalog. Prices are those of the moment of asking.

    What changes a reservation may be called again with the same effect. A refusal (Refused with status 404 or 409, and the
    problem's `code`) means that nothing changed.
    """

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

    async def reserve(
        self, reservation_id: ReservationId, items: Mapping[ProductId, int], *, expires_in: int | None = None
    ) -> ReservationSummary:
        """Hold `items` (how many of which product) for `expires_in` seconds, for catalog's own time with None.

        All of them or none. Refused with 409: `insufficient_stock`, whose `items` name what is short;
        `reservation_released` where it was released, be it before this call.
        """
        lines = [{"product_id": product_id, "quantity": quantity} for product_id, quantity in items.items()]
        body = {"items": lines} if expires_in is None else {"items": lines, "expires_in": expires_in}
        return await self.put(_path(reservation_id), json=body, answer=ReservationSummary)

    async def confirm(self, reservation_id: ReservationId) -> ReservationSummary:
        """Hold the items for good. Refused with 409: `reservation_expired` where too little is left, `reservation_released`."""
        return await self.post(f"{_path(reservation_id)}/confirm", answer=ReservationSummary)

    async def release(self, reservation_id: ReservationId) -> None:
        """Hold the items no longer, nor ever: a reserve of this id that comes late is refused. Refused: `reservation_shipped`."""
        await self.delete(_path(reservation_id))

    async def ship(self, reservation_id: ReservationId) -> ReservationSummary:
        """Take the items of a confirmed reservation out of stock. Refused with 409: `reservation_not_confirmed`."""
        return await self.post(f"{_path(reservation_id)}/ship", answer=ReservationSummary)

    async def return_(self, reservation_id: ReservationId) -> ReservationSummary:
        """Put the items of a shipped reservation back into stock. Refused with 409: `reservation_not_shipped`."""
        return await self.post(f"{_path(reservation_id)}/return", answer=ReservationSummary)


def _path(reservation_id: ReservationId) -> str:
    return f"/inventory/reservations/{reservation_id}"
