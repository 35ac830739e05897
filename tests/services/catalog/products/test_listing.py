import itertools
from typing import Any

import pytest
from tests.services.catalog.support import create_product, editor, link_target, list_names, names_of, product_body

from portico.services.catalog import service
from portico.testing.databases import Databases
from portico.testing.running_service import RunningService, run_service, system_of

PRODUCTS = [
    {"name": "Émile", "price": 30, "category": "books", "stock_quantity": 1},
    {"name": "atlas", "price": 10, "category": "books"},
    {"name": "Zebra", "price": 20, "category": "toys", "stock_quantity": 5},
    {"name": "Ball", "price": 10, "category": "toys"},
    {"name": "cards", "price": 5.5, "category": "toys", "stock_quantity": 2},
]


async def _create_products(catalog: RunningService) -> None:
    answer = await editor(catalog).post("/products/batch", json=[product_body(**item) for item in PRODUCTS])
    assert answer.status_code == 200, answer.content


class TestSorting:
    async def test_is_the_same_on_every_database(self, catalog: RunningService) -> None:
        await _create_products(catalog)

        orders = {
            sort: await list_names(catalog, sort=sort)
            for sort in ("newest", "oldest", "name", "-name", "price", "-price")
        }

        assert orders == {
            "newest": ["cards", "Ball", "Zebra", "atlas", "Émile"],
            "oldest": ["Émile", "atlas", "Zebra", "Ball", "cards"],
            "name": ["atlas", "Ball", "cards", "Émile", "Zebra"],
            "-name": ["Zebra", "Émile", "cards", "Ball", "atlas"],
            "price": ["cards", "atlas", "Ball", "Zebra", "Émile"],
            "-price": ["Émile", "Zebra", "Ball", "atlas", "cards"],
        }
        assert await list_names(catalog) == orders["newest"]


class TestFilters:
    async def test_can_be_combined(self, catalog: RunningService) -> None:
        await _create_products(catalog)

        assert await list_names(catalog, category="toys") == ["cards", "Ball", "Zebra"]
        assert await list_names(catalog, category="TOYS") == []
        assert await list_names(catalog, min_price=10, max_price="20.00") == ["Ball", "Zebra", "atlas"]
        assert await list_names(catalog, in_stock="true") == ["cards", "Zebra", "Émile"]
        assert await list_names(catalog, in_stock="false", category="toys") == ["Ball"]
        assert await list_names(catalog, category="toys", min_price=5.51, sort="price") == ["Ball", "Zebra"]
        assert await list_names(catalog, search="zebra", max_price=19) == []
        assert await list_names(catalog, category="", search="") == await list_names(catalog)

    async def test_compare_prices_by_number_whatever_the_currency(self, catalog: RunningService) -> None:
        for price, currency in [(10, "USD"), (11, "JPY"), (10.5, "KWD"), (9.99, "EUR")]:
            await create_product(catalog, name=currency, price=price, currency=currency)

        assert await list_names(catalog, min_price=10, sort="price") == ["USD", "KWD", "JPY"]
        assert await list_names(catalog, max_price="10.499", sort="-price") == ["USD", "EUR"]

    async def test_select_products_by_id(self, catalog: RunningService) -> None:
        some = [(await create_product(catalog))["product_id"] for _ in range(3)]

        answer = await catalog.anonymous.get(f"/products?product_id={some[0]}&product_id={some[2]}")

        assert [product["product_id"] for product in answer.json()] == [some[2], some[0]]

    @pytest.mark.parametrize(
        "query",
        [
            "limit=0", "limit=1001", "skip=-1", "skip=99999999999999999999", "sort=size", "min_price=-1", "min_price=x",
            "min_price=NaN", "max_price=Infinity", "max_price=1.23456", "in_stock=maybe", "colour=red", "category=" + "x" * 101,
            "cursor=x", "cursor=WyJwcmljZSIsMCwxMCwicHJvZCJd", "product_id=5", "search=" + "+".join(map(str, range(20))),
        ],
    )  # fmt: skip
    async def test_reject_invalid_values(self, query: str, embedded: RunningService) -> None:
        answer = await embedded.anonymous.get(f"/products?{query}")

        assert answer.status_code == 422, answer.content


class TestPages:
    @pytest.mark.parametrize("filters", ["", "&sort=price", "&sort=-name", "&search=lamp", "&search=lamp&sort=-price"])
    async def test_contain_every_product_once_and_link_back(self, filters: str, catalog: RunningService) -> None:
        items = [product_body(name=f"Lamp {number:02}", price=number // 3) for number in range(11)]
        await editor(catalog).post("/products/batch", json=items)
        whole = names_of(await catalog.anonymous.get(f"/products?limit=1000{filters}"))

        pages = [await catalog.anonymous.get(f"/products?limit=4{filters}")]
        while (following := link_target(pages[-1], "next")) is not None:
            pages.append(await catalog.anonymous.get(following))
        back = await catalog.anonymous.get(str(link_target(pages[-1], "prev")))

        assert list(itertools.chain.from_iterable(map(names_of, pages))) == whole
        assert len(pages) == 3
        assert [page.headers.get("x-total-count") for page in pages] == ["11", None, None]
        assert back.json() == pages[1].json()

    async def test_can_be_reached_by_skip(self, catalog: RunningService) -> None:
        await _create_products(catalog)

        answer = await catalog.anonymous.get("/products?skip=2&limit=2")
        beyond = await catalog.anonymous.get("/products?skip=50")

        assert (names_of(answer), answer.headers["x-total-count"]) == (["Zebra", "atlas"], "5")
        assert (names_of(beyond), beyond.headers["x-total-count"]) == ([], "5")

    async def test_of_a_search_are_counted_up_to_a_thousand_products_if_each_is_looked_up(
        self, embedded: RunningService
    ) -> None:
        for count in (1_000, 2):
            items = [product_body(name="Red lamp") for _ in range(count)]
            assert (await editor(embedded).post("/products/batch", json=items)).status_code == 200

        totals = {}
        for query in ("category=home", "search=lamp", "search=red+lamp", "search=lamp&min_price=1", "search=red+lump"):
            answer = await embedded.anonymous.get(f"/products?limit=1&{query}")
            totals[query] = (answer.headers.get("x-total-count"), answer.headers.get("x-total-count-at-least"))

        assert totals == {
            "category=home": ("1002", None),
            "search=lamp": ("1002", None),
            "search=red+lamp": (None, "1000"),
            "search=lamp&min_price=1": (None, "1000"),
            "search=red+lump": ("0", None),
        }


SEARCHABLE = (
    product_body(name="Café Crème Lamp", description="Warm, 100% cotton shade", sku="LMP-100/X"),
    product_body(name="STRAẞE light", description="it's <b>bold</b>; DROP TABLE", sku="STR-7"),
    product_body(name="落地灯", description="ランプ", sku="CJK-1"),
    product_body(name="Under_score", description="a\\b", sku="U_1"),
    product_body(name="한국어 문법", description="京東", sku="KO-1"),
    product_body(name="東京タワーの模型", description="x\u00adsoft", sku="JA-1"),
    product_body(name="The C++ handbook", description="C++17 and later", sku="CPP"),
    product_body(name="Learning C#", description="also F#", sku="CS"),
    product_body(name="Rocket", description="👩\u200d🚀 👍🏽 ❤\ufe0f 🇩🇪", sku="EMO-1"),
)
FOUND = {
    "lamp": ["Café Crème Lamp"],
    "LAMP cafe": ["Café Crème Lamp"],
    "cafe\u0301": ["Café Crème Lamp"],
    "cotton lmp": ["Café Crème Lamp"],
    "LMP-100/X": ["Café Crème Lamp"],
    "100": ["Café Crème Lamp"],
    "lam": [],
    "lamp light": [],
    "strasse": ["STRAẞE light"],
    "it's": ["STRAẞE light"],
    "drop": ["STRAẞE light"],
    "score": ["Under_score"],
    "%": [],
    "_": [],
    "l%p": [],
    "' OR 1=1 --": [],
    "\\": [],
    "\ufffd": [],
    "灯": ["落地灯"],
    "落地灯": ["落地灯"],
    "ランプ": ["落地灯"],
    "\uff97\uff9d\uff8c\uff9f": ["落地灯"],  # in half width
    "한국": ["한국어 문법"],
    "한국어": ["한국어 문법"],
    "국어 문법": ["한국어 문법"],
    "한어": [],
    "東京": ["東京タワーの模型"],
    "京東": ["한국어 문법"],
    "東京タワー": ["東京タワーの模型"],
    "xsoft": ["東京タワーの模型"],
    "x\u00adsoft": ["東京タワーの模型"],
    "xs\u200doft": ["東京タワーの模型"],
    "soft": [],
    "c++": ["The C++ handbook"],
    "C++17": ["The C++ handbook"],
    "c#": ["Learning C#"],
    "\uff23\uff03": ["Learning C#"],  # in full width
    "f#": ["Learning C#"],
    "c": ["Learning C#", "The C++ handbook"],
    "🚀": ["Rocket"],
    "👩\u200d🚀": ["Rocket"],
    "👍": ["Rocket"],
    "❤": ["Rocket"],
    "❤\ufe0f": ["Rocket"],
    "🇩🇪": ["Rocket"],
    "🇪🇩": [],
    "🎈": [],
}


class TestSearch:
    async def test_finds_exactly_the_products_with_all_words(self, catalog: RunningService) -> None:
        answer = await editor(catalog).post("/products/batch", json=list(SEARCHABLE))
        assert [product.get("code") for product in answer.json()] == [None] * len(SEARCHABLE)

        found = {search: await list_names(catalog, search=search) for search in FOUND}

        assert found == FOUND


class TestResponseCache:
    async def test_is_up_to_date_after_each_write(self, catalog: RunningService) -> None:
        seen: list[tuple[Any, ...]] = []

        async def look() -> None:
            answer = await catalog.anonymous.get("/products?limit=1")
            seen.append((answer.headers["x-total-count"], names_of(answer)))

        await look()
        product = await create_product(catalog, name="One")
        path = f"/products/{product['product_id']}"
        await look()
        await editor(catalog).patch(path, json={"name": "Two"})
        await look()
        await editor(catalog).post("/products/batch", json=[product_body(name="Three"), product_body(name="Four")])
        await look()
        await editor(catalog).delete(path)
        await look()

        assert seen == [("0", []), ("1", ["One"]), ("1", ["Two"]), ("3", ["Four"]), ("2", ["Four"])]

    async def test_responds_without_a_query(self, embedded: RunningService) -> None:
        await _create_products(embedded)
        first = await embedded.anonymous.get("/products?limit=2")
        async with embedded.context.database.writer.begin() as connection:
            await connection.exec_driver_sql("DELETE FROM products")

        again = await embedded.anonymous.get("/products?limit=2")

        assert (again.content, again.headers["link"]) == (first.content, first.headers["link"])
        assert names_of(await embedded.anonymous.get("/products?limit=3")) == []

    async def test_expires(self, embedded: RunningService) -> None:
        await create_product(embedded)
        await embedded.anonymous.get("/products")
        async with embedded.context.database.writer.begin() as connection:
            await connection.exec_driver_sql("DELETE FROM products")

        embedded.clock.advance(31)

        assert await list_names(embedded) == []

    async def test_is_invalidated_through_redis(self, sqlite_databases: Databases, redis_url: str) -> None:
        async with run_service(service, sqlite_databases, variables={"REDIS_URL": redis_url}) as catalog:
            await create_product(catalog, name="One")
            before = await list_names(catalog)
            await create_product(catalog, name="Two")

            assert (before, await list_names(catalog)) == (["One"], ["Two", "One"])


class TestCamelCase:
    async def test_applies_to_all_fields_except_keys_of_attributes(self, sqlite_databases: Databases) -> None:
        system = system_of(service, case="camel", prefix="/api")
        async with run_service(service, sqlite_databases, system=system) as catalog:
            body = {**product_body(), "stockQuantity": 2, "attributes": {"snake_key": 1, "camelKey": {"inner_key": 2}}}
            made = await editor(catalog).post("/api/products", json=body)
            listed = await catalog.anonymous.get("/api/products?minPrice=1&inStock=true")
            batch = await editor(catalog).post(
                "/api/products/batch", json=[product_body(stockQuantity=1), {"stockQuantity": -1}]
            )

        assert made.headers["location"].startswith("/api/products/prod_")
        assert listed.json() == [made.json()]
        assert {"productId", "stockQuantity", "createdAt"} < set(made.json())
        assert made.json()["attributes"] == body["attributes"]
        assert "stockQuantity" in batch.json()[0]
        assert ["stockQuantity"] in [error["location"] for error in batch.json()[1]["errors"]]
        assert {"type", "status", "code", "requestId", "errors"} < set(batch.json()[1])
        assert "request_id" not in batch.json()[1]
