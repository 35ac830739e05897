"""Stock for tests."""

from collections.abc import Mapping
from typing import Any

from tests.services.catalog.goods import add

from portico.contracts.catalog import ProductId, ReservationId
from portico.services.catalog.stock.invariants import mismatches
from portico.testing.running_service import Answer, Caller, RunningService


def orders(catalog: RunningService) -> Caller:
    """The service that reserves."""
    return catalog.as_service("orders")


def keeper(catalog: RunningService) -> Caller:
    """Somebody who keeps the stock."""
    return catalog.as_user("inventory:read", "inventory:write")


async def stocked(catalog: RunningService, quantity: int, **members: Any) -> ProductId:
    """A product of which there is so much."""
    return ProductId((await add(catalog, stock_quantity=quantity, **members))["product_id"])


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
    return await orders(catalog).put(_path(reservation_id or ReservationId.new()), json=body)


async def held(catalog: RunningService, items: Mapping[ProductId, int], **options: Any) -> ReservationId:
    """A reservation that was made."""
    answer = await reserve(catalog, items, **options)
    assert answer.status_code == 201, answer.content
    return ReservationId(answer.json()["reservation_id"])


async def change(catalog: RunningService, reservation_id: ReservationId, what: str) -> Answer:
    """`confirm`, `ship` or `return` it, or "release" it."""
    if what == "release":
        return await orders(catalog).delete(_path(reservation_id))
    return await orders(catalog).post(f"{_path(reservation_id)}/{what}")


async def changed(catalog: RunningService, reservation_id: ReservationId, *steps: str) -> None:
    for step in steps:
        answer = await change(catalog, reservation_id, step)
        assert answer.status_code in {200, 204}, answer.content


async def adjust(catalog: RunningService, product_id: ProductId, quantity: int, **members: Any) -> Answer:
    body = {"quantity": quantity, "reason": "counted", **members}
    return await keeper(catalog).post(f"/inventory/{product_id}/adjustments", json=body)


async def figures(catalog: RunningService, product_id: ProductId, **query: Any) -> tuple[int, int, int]:
    """On hand, reserved, available; both the inventory and the product say so."""
    answer = await catalog.anonymous.get(f"/inventory/{product_id}", params=query)
    assert answer.status_code == 200, answer.content
    found = answer.json()
    return found["on_hand"], found["reserved"], found["available"]


async def shown(catalog: RunningService, product_id: ProductId) -> int:
    """What the product's own page says there is."""
    quantity: int = (await catalog.anonymous.get(f"/products/{product_id}")).json()["stock_quantity"]
    return quantity


async def ledger(catalog: RunningService, product_id: ProductId) -> list[tuple[str, int, int, int]]:
    """Kind, quantity, on hand and reserved of each entry, oldest first."""
    answer = await keeper(catalog).get(f"/inventory/{product_id}/transactions", params={"limit": 1000})
    assert answer.status_code == 200, answer.content
    return [
        (each["kind"], each["quantity"], each["on_hand_after"], each["reserved_after"])
        for each in reversed(answer.json())
    ]


async def assert_sound(catalog: RunningService) -> None:
    """All that must be true of the stock is."""
    async with catalog.context.reader() as reader:
        assert await mismatches(reader) == []


def _path(reservation_id: ReservationId) -> str:
    return f"/inventory/reservations/{reservation_id}"
