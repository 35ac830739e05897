"""Products that the tests of catalog share."""

import itertools
from typing import Any

from portico.testing.running_service import Answer, Caller, RunningService

_numbers = itertools.count(1)


def editor(catalog: RunningService) -> Caller:
    """Return a user who may write products."""
    return catalog.as_user("products:write")


def product_body(**members: Any) -> dict[str, Any]:
    """Return the body of a POST: a lamp with a new SKU, changed by `members`."""
    return {"name": "Lamp", "price": 19.99, "category": "home", "sku": f"SKU-{next(_numbers)}", **members}


async def create_product(catalog: RunningService, **members: Any) -> dict[str, Any]:
    """Create a product."""
    answer = await editor(catalog).post("/products", json=product_body(**members))
    assert answer.status_code == 201, answer.content
    product: dict[str, Any] = answer.json()
    return product


async def list_names(catalog: RunningService, **filters: Any) -> list[str]:
    """Return the names of the listed products."""
    return names_of(await catalog.anonymous.get("/products", params=filters))


def names_of(answer: Answer) -> list[str]:
    assert answer.status_code == 200, answer.content
    return [product["name"] for product in answer.json()]


def link_target(answer: Answer, relation: str) -> str | None:
    """Return the target of the response's `Link` with this relation."""
    for link in answer.headers["link"].split(", "):
        target, _, name = link.partition("; ")
        if name == f'rel="{relation}"':
            return target.strip("<>")
    return None
