"""The client and the events of catalog: products, stock, reservations."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Literal

from portico.kit import Amount, Client, Event, Identifier, Summary

_MAX_IDS = 100  # ids in one request


class ProductId(Identifier, prefix="prod"):
    """Id of a product."""


class ReservationId(Identifier, prefix="rsv"):
    """Id of a stock reservation. The reserving service chooses it."""


StockKind = Literal["receipt", "adjustment", "reservation", "release", "shipment", "return"]
"""The reason of a stock change."""

ReservationStatus = Literal["reserved", "confirmed", "released", "expired", "shipped", "returned"]


class ProductCreated(Event, type="product.created", version=1, aggregate="product_id"):
    """A product was created. `price` is a decimal amount in `currency`."""

    product_id: ProductId
    sku: str
    name: str
    category: str
    price: Amount
    currency: str


class ProductUpdated(Event, type="product.updated", version=1, aggregate="product_id"):
    """A product was changed. The event has the product's complete new state, without stock."""

    product_id: ProductId
    sku: str
    name: str
    category: str
    price: Amount
    currency: str


class ProductDeleted(Event, type="product.deleted", version=1, aggregate="product_id"):
    """A product was deleted. Existing reservations of it are still shipped."""

    product_id: ProductId
    sku: str


class InventoryUpdated(Event, type="inventory.updated", version=1, aggregate="product_id"):
    """The stock of a product changed, or the reserved part of it.

    One event may cover several changes that were committed together: `kinds` lists their reasons. `number` is the
    number of the last ledger entry; an event with a smaller number is outdated.
    """

    product_id: ProductId
    on_hand: int
    reserved: int
    available: int
    kinds: list[StockKind]
    number: int


class InventoryLow(Event, type="inventory.low", version=1, aggregate="product_id"):
    """The available stock of a product fell to `threshold` or below."""

    product_id: ProductId
    available: int
    threshold: int


class ProductSummary(Summary):
    """A product as other services see it. `price` is a decimal amount in `currency`."""

    product_id: ProductId
    sku: str
    name: str
    price: Decimal
    currency: str
    category: str
    stock_quantity: int


class ReservedItem(Summary):
    """A quantity of a product."""

    product_id: ProductId
    quantity: int


class ReservationSummary(Summary):
    """A reservation as other services see it. `expires_at` is None unless its status is `reserved`."""

    reservation_id: ReservationId
    status: ReservationStatus
    items: list[ReservedItem]
    expires_at: datetime | None


class CatalogClient(Client, service="catalog"):
    """Read products and manage reservations. Prices are the current prices.

    Calls that change a reservation are idempotent. If a call raises Refused (status 404 or 409, with the problem's
    `code`), nothing changed.
    """

    async def product(self, product_id: ProductId) -> ProductSummary:
        """Return the product. Raises Refused with status 404 if it does not exist."""
        return await self.get(f"/products/{product_id}", answer=ProductSummary)

    async def products(self, product_ids: Iterable[ProductId]) -> dict[ProductId, ProductSummary]:
        """Return the products with these ids, by id. Unknown ids are left out."""
        wanted = list(dict.fromkeys(product_ids))
        found: dict[ProductId, ProductSummary] = {}
        for start in range(0, len(wanted), _MAX_IDS):
            ids = wanted[start : start + _MAX_IDS]
            answer = await self.get(
                "/products", params={"product_id": ids, "limit": _MAX_IDS}, answer=list[ProductSummary]
            )
            found.update((product.product_id, product) for product in answer)
        return found

    async def reserve(
        self, reservation_id: ReservationId, items: Mapping[ProductId, int], *, expires_in: int | None = None
    ) -> ReservationSummary:
        """Reserve `items` (quantity by product), all or none.

        Args:
            reservation_id: the id of the new reservation.
            items: the quantity of each product.
            expires_in: seconds until the reservation expires; None for catalog's default.

        Raises:
            Refused: 409 `insufficient_stock`, with the missing `items`; 409 `reservation_released` if the reservation
                was released, possibly before this call.
        """
        lines = [{"product_id": product_id, "quantity": quantity} for product_id, quantity in items.items()]
        body = {"items": lines} if expires_in is None else {"items": lines, "expires_in": expires_in}
        batch = "/inventory/reservations/batch"
        return await self.put(_path(reservation_id), json=body, answer=ReservationSummary, batch=batch)

    async def confirm(self, reservation_id: ReservationId) -> ReservationSummary:
        """Make the reservation permanent.

        Raises:
            Refused: 409 `reservation_expired` if too little stock is left; 409 `reservation_released`.
        """
        path, batch = f"{_path(reservation_id)}/confirm", "/inventory/reservations/confirm/batch"
        return await self.post(path, answer=ReservationSummary, batch=batch)

    async def release(self, reservation_id: ReservationId) -> None:
        """Release the reservation. A later `reserve` with this id is refused.

        Raises:
            Refused: 409 `reservation_shipped`.
        """
        await self.delete(_path(reservation_id), batch="/inventory/reservations/release/batch")

    async def ship(self, reservation_id: ReservationId) -> ReservationSummary:
        """Remove the items of a confirmed reservation from stock.

        Raises:
            Refused: 409 `reservation_not_confirmed`.
        """
        path, batch = f"{_path(reservation_id)}/ship", "/inventory/reservations/ship/batch"
        return await self.post(path, answer=ReservationSummary, batch=batch)

    async def return_(self, reservation_id: ReservationId) -> ReservationSummary:
        """Return the items of a shipped reservation to stock.

        Raises:
            Refused: 409 `reservation_not_shipped`.
        """
        return await self.post(f"{_path(reservation_id)}/return", answer=ReservationSummary)


def _path(reservation_id: ReservationId) -> str:
    return f"/inventory/reservations/{reservation_id}"
