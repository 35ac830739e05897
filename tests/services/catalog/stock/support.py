"""Requests and state checks that the tests of stock share."""

from collections.abc import Mapping
from typing import Any

from tests.services.catalog.support import create_product

from portico.contracts.catalog import ProductId, ReservationId
from portico.services.catalog.stock.invariants import mismatches
from portico.testing.running_service import Answer, Caller, RunningService


def orders_service(catalog: RunningService) -> Caller:
    """Return the service that reserves stock."""
    return catalog.as_service("orders")


def inventory_staff(catalog: RunningService) -> Caller:
    """Return a user who may read and adjust stock."""
    return catalog.as_user("inventory:read", "inventory:write")


async def create_stocked_product(catalog: RunningService, quantity: int, **members: Any) -> ProductId:
    """Create a product with this quantity in stock."""
    return ProductId((await create_product(catalog, stock_quantity=quantity, **members))["product_id"])


async def reserve(
    catalog: RunningService,
    items: Mapping[ProductId, int],
    *,
    reservation_id: ReservationId | None = None,
    expires_in: int | None = None,
) -> Answer:
    body = {"items": [{"product_id": product_id, "quantity": quantity} for product_id, quantity in items.items()]}
    if expires_in is not None:
        body |= {"expires_in": expires_in}  # type: ignore[dict-item]
    return await orders_service(catalog).put(_path(reservation_id or ReservationId.new()), json=body)


async def create_reservation(catalog: RunningService, items: Mapping[ProductId, int], **options: Any) -> ReservationId:
    """Create a reservation."""
    answer = await reserve(catalog, items, **options)
    assert answer.status_code == 201, answer.content
    return ReservationId(answer.json()["reservation_id"])


async def request_change(catalog: RunningService, reservation_id: ReservationId, action: str) -> Answer:
    """Send the request to `confirm`, `ship`, `return` or `release` a reservation."""
    if action == "release":
        return await orders_service(catalog).delete(_path(reservation_id))
    return await orders_service(catalog).post(f"{_path(reservation_id)}/{action}")


async def apply_changes(catalog: RunningService, reservation_id: ReservationId, *steps: str) -> None:
    for step in steps:
        answer = await request_change(catalog, reservation_id, step)
        assert answer.status_code in {200, 204}, answer.content


async def adjust(catalog: RunningService, product_id: ProductId, quantity: int, **members: Any) -> Answer:
    body = {"quantity": quantity, "reason": "counted", **members}
    return await inventory_staff(catalog).post(f"/inventory/{product_id}/adjustments", json=body)


async def read_level(catalog: RunningService, product_id: ProductId, **query: Any) -> tuple[int, int, int]:
    """Return the quantities on hand, reserved and available."""
    answer = await catalog.anonymous.get(f"/inventory/{product_id}", params=query)
    assert answer.status_code == 200, answer.content
    found = answer.json()
    return found["on_hand"], found["reserved"], found["available"]


async def read_product_stock(catalog: RunningService, product_id: ProductId) -> int:
    """Return the stock quantity that the product shows."""
    quantity: int = (await catalog.anonymous.get(f"/products/{product_id}")).json()["stock_quantity"]
    return quantity


async def read_ledger(catalog: RunningService, product_id: ProductId) -> list[tuple[str, int, int, int]]:
    """Return kind, quantity, on hand and reserved of each ledger entry, oldest first."""
    answer = await inventory_staff(catalog).get(f"/inventory/{product_id}/transactions", params={"limit": 1000})
    assert answer.status_code == 200, answer.content
    return [
        (each["kind"], each["quantity"], each["on_hand_after"], each["reserved_after"])
        for each in reversed(answer.json())
    ]


async def assert_no_mismatches(catalog: RunningService) -> None:
    """Check the invariants of stock."""
    async with catalog.context.reader() as reader:
        assert await mismatches(reader) == []


def _path(reservation_id: ReservationId) -> str:
    return f"/inventory/reservations/{reservation_id}"
