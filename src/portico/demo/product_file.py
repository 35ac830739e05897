"""The product file of the demo. It is generated, and always the same."""

import csv
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SEED = 20
INVALID_EVERY = 500
_KINDS = {
    "lighting": ["Lamp", "Lantern", "Spotlight", "Chandelier"],
    "kitchen": ["Kettle", "Pan", "Grinder", "Toaster", "Knife"],
    "garden": ["Rake", "Hose", "Planter", "Bench"],
    "office": ["Desk", "Chair", "Stapler", "Notebook"],
    "sport": ["Racket", "Bicycle", "Rope", "Kayak"],
}
_LOOKS = ["Oak", "Steel", "Linen", "Glass", "Cork", "Copper", "Walnut", "Bamboo", "Enamel", "Wool"]
_PLACES = ["Aalborg", "Bergen", "Cádiz", "Delft", "Évora", "Fuji", "Graz", "Hilo", "İzmir", "Jaén"]
_COLUMNS = ["name", "description", "price", "currency", "category", "sku", "stock_quantity"]


def write_products(path: Path, count: int) -> None:
    """Write `count` products to `path` as CSV (RFC 4180). One row in five hundred is invalid."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, _COLUMNS)
        writer.writeheader()
        writer.writerows(_products(count))


def read_products(path: Path) -> list[dict[str, Any]]:
    """Return the rows of `path` as `POST /products/batch` takes them."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [{**row, "price": float(row["price"]), "stock_quantity": int(row["stock_quantity"])} for row in rows]


def is_valid(row: dict[str, Any]) -> bool:
    """Return whether the service should accept this row."""
    return bool(row["price"] >= 0)


def _products(count: int) -> Iterator[dict[str, Any]]:
    chance = random.Random(SEED)  # noqa: S311  # repeatable, not secret
    for number in range(count):
        category = chance.choice(list(_KINDS))
        look, place = chance.choice(_LOOKS), chance.choice(_PLACES)
        price = chance.randint(99, 250_000) / 100
        yield {
            "name": f"{look} {chance.choice(_KINDS[category])} {place}",
            "description": f"Made of {look.lower()} in {place}, number {number + 1} of its series.",
            "price": f"{-price if number % INVALID_EVERY == INVALID_EVERY // 2 else price:.2f}",
            "currency": chance.choice(["USD", "USD", "USD", "EUR"]),
            "category": category,
            "sku": f"DEMO-{number + 1:06}",
            "stock_quantity": str(chance.choice([0, 0, 5, 12, 80])),
        }
