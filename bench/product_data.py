"""100,000 generated products, the same in each run, for the tables of Portico and of the ORM service."""

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg

from portico.contracts.catalog import ProductId
from portico.services.catalog.models import Product

MANY = 100_000
BRANDS = [
    f"{start}{end}" for start in ("alta", "bruno", "cora", "delta", "eska") for end in ("vik", "lin", "mar", "tec")
]
NOUNS = ["lamp", "chair", "table", "kettle", "cable", "helmet", "jacket", "camera", "speaker", "drill"]
ADJECTIVES = ["red", "blue", "light", "heavy", "small", "large", "foldable", "wireless"]
WORDS = [f"{a}{b}" for a in ("ba", "ke", "lo", "mi", "nu", "pra", "sto", "ve") for b in ("ban", "dor", "fil", "gem", "kat", "len", "mos", "rin", "sul", "tav")]  # fmt: skip
COLUMNS = ["product_id", "sku", "name", "name_order", "description", "price_minor", "price_order", "currency", "category", "stock_quantity", "attributes", "created_at", "updated_at", "revision"]  # fmt: skip
ORM_COLUMNS = ["id", "sku", "name", "description", "price", "currency", "category", "stock_quantity", "attributes", "created_at", "updated_at"]  # fmt: skip
START = datetime(2025, 1, 1, tzinfo=UTC)


def products(many: int = MANY) -> Iterator[Product]:
    """Generate products. Half have the word "quality", a tenth are lamps, one in 10,000 has the word "unicorn"."""
    chance = random.Random(7)
    for number in range(many):
        noun, brand = chance.choice(NOUNS), chance.choice(BRANDS)
        text = [chance.choice(WORDS) for _ in range(15)]
        if number % 2:
            text.append("quality")
        if number % 10_000 == 0:
            text.append("unicorn")
        made = START + timedelta(seconds=number)
        product = Product(
            product_id=ProductId(f"prod_{number:026d}"),
            sku=f"{brand[:3]}-{noun[:2]}-{number}".upper(),
            name=f"{brand} {chance.choice(ADJECTIVES)} {noun}",
            description=" ".join(text),
            category=noun,
            stock_quantity=chance.choice([0, *range(1, 20)]),
            attributes={"colour": chance.choice(ADJECTIVES), "weight": chance.randrange(5000)},
            created_at=made,
            updated_at=made,
            revision=1,
        )
        product.set_price(Decimal(chance.randrange(100, 100_000)) / 100, "USD")
        yield product


async def fill(dsn: str) -> None:
    """Insert the products into the tables of both services."""
    connection = await asyncpg.connect(dsn)
    rows: list[Product] = list(products())
    await connection.copy_records_to_table("products", records=[_row(product) for product in rows], columns=COLUMNS)
    words = [(word, str(product.product_id)) for product in rows for word in product.words]
    await connection.copy_records_to_table("product_words", records=words, columns=["word", "product_id"])
    await connection.copy_records_to_table(
        "orm_products", records=[_orm_row(product) for product in rows], columns=ORM_COLUMNS
    )
    await connection.execute("VACUUM ANALYZE")
    await connection.close()


def _row(product: Product) -> tuple[Any, ...]:
    values = {name: getattr(product, name) for name in COLUMNS}
    return tuple(json.dumps(value) if isinstance(value, dict) else value for value in values.values())


def _orm_row(product: Product) -> tuple[Any, ...]:
    naive = product.created_at.replace(tzinfo=None)
    return (
        str(product.product_id), product.sku, product.name, product.description, product.price, product.currency,
        product.category, product.stock_quantity, json.dumps(product.attributes), naive, naive,
    )  # fmt: skip
