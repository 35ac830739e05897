"""Products for tests."""

import itertools
from typing import Any

from portico.testing.running_service import Answer, Caller, RunningService

_numbers = itertools.count(1)


def editor(catalog: RunningService) -> Caller:
    """Somebody who may write products."""
    return catalog.as_user("products:write")


def draft(**members: Any) -> dict[str, Any]:
    """The body of a POST: a lamp with a sku of its own, but for `members`."""
    return {"name": "Lamp", "price": 19.99, "category": "home", "sku": f"SKU-{next(_numbers)}", **members}


async def add(catalog: RunningService, **members: Any) -> dict[str, Any]:
    """A product that is there."""
    answer = await editor(catalog).post("/products", json=draft(**members))
    assert answer.status_code == 201, answer.content
    product: dict[str, Any] = answer.json()
    return product


async def names(catalog: RunningService, **filters: Any) -> list[str]:
    """The names that a list answers."""
    return names_in(await catalog.anonymous.get("/products", params=filters))


def names_in(answer: Answer) -> list[str]:
    assert answer.status_code == 200, answer.content
    return [product["name"] for product in answer.json()]


def linked(answer: Answer, relation: str) -> str | None:
    """Where the answer's `Link` of this relation leads."""
    for link in answer.headers["link"].split(", "):
        target, _, name = link.partition("; ")
        if name == f'rel="{relation}"':
            return target.strip("<>")
    return None
