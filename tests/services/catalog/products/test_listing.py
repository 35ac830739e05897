import itertools
from typing import Any

import pytest
from tests.services.catalog.goods import add, draft, editor, linked, names, names_in

from portico.services.catalog import service
from portico.testing.databases import Databases
from portico.testing.running_service import RunningService, running, system_of

SHELF = [
    {"name": "Émile", "price": 30, "category": "books", "stock_quantity": 1},
    {"name": "atlas", "price": 10, "category": "books"},
    {"name": "Zebra", "price": 20, "category": "toys", "stock_quantity": 5},
    {"name": "Ball", "price": 10, "category": "toys"},
    {"name": "cards", "price": 5.5, "category": "toys", "stock_quantity": 2},
]


async def _shelve(catalog: RunningService) -> None:
    answer = await editor(catalog).post("/products/batch", json=[draft(**item) for item in SHELF])
    assert answer.status_code == 200, answer.content


class TestOrder:
    async def test_is_the_same_everywhere(self, catalog: RunningService) -> None:
        await _shelve(catalog)

        orders = {
            sort: await names(catalog, sort=sort) for sort in ("newest", "oldest", "name", "-name", "price", "-price")
        }

        assert orders == {
            "newest": ["cards", "Ball", "Zebra", "atlas", "Émile"],
            "oldest": ["Émile", "atlas", "Zebra", "Ball", "cards"],
            "name": ["atlas", "Ball", "cards", "Émile", "Zebra"],
            "-name": ["Zebra", "Émile", "cards", "Ball", "atlas"],
            "price": ["cards", "atlas", "Ball", "Zebra", "Émile"],
            "-price": ["Émile", "Zebra", "Ball", "atlas", "cards"],
        }
        assert await names(catalog) == orders["newest"]


class TestFilters:
    async def test_hold_together(self, catalog: RunningService) -> None:
        await _shelve(catalog)

        assert await names(catalog, category="toys") == ["cards", "Ball", "Zebra"]
        assert await names(catalog, category="TOYS") == []
        assert await names(catalog, min_price=10, max_price="20.00") == ["Ball", "Zebra", "atlas"]
        assert await names(catalog, in_stock="true") == ["cards", "Zebra", "Émile"]
        assert await names(catalog, in_stock="false", category="toys") == ["Ball"]
        assert await names(catalog, category="toys", min_price=5.51, sort="price") == ["Ball", "Zebra"]
        assert await names(catalog, search="zebra", max_price=19) == []
        assert await names(catalog, category="", search="") == await names(catalog)

    async def test_compare_prices_as_they_are_written_whatever_the_currency(self, catalog: RunningService) -> None:
        for price, currency in [(10, "USD"), (11, "JPY"), (10.5, "KWD"), (9.99, "EUR")]:
            await add(catalog, name=currency, price=price, currency=currency)

        assert await names(catalog, min_price=10, sort="price") == ["USD", "KWD", "JPY"]
        assert await names(catalog, max_price="10.499", sort="-price") == ["USD", "EUR"]

    async def test_ask_for_some_by_id(self, catalog: RunningService) -> None:
        some = [(await add(catalog))["product_id"] for _ in range(3)]

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
    async def test_that_make_no_sense_are_refused(self, query: str, embedded: RunningService) -> None:
        answer = await embedded.anonymous.get(f"/products?{query}")

        assert answer.status_code == 422, answer.content


class TestPages:
    @pytest.mark.parametrize("filters", ["", "&sort=price", "&sort=-name", "&search=lamp", "&search=lamp&sort=-price"])
    async def test_lead_through_every_product_once_and_back(self, filters: str, catalog: RunningService) -> None:
        items = [draft(name=f"Lamp {number:02}", price=number // 3) for number in range(11)]
        await editor(catalog).post("/products/batch", json=items)
        whole = names_in(await catalog.anonymous.get(f"/products?limit=1000{filters}"))

        pages = [await catalog.anonymous.get(f"/products?limit=4{filters}")]
        while (following := linked(pages[-1], "next")) is not None:
            pages.append(await catalog.anonymous.get(following))
        back = await catalog.anonymous.get(str(linked(pages[-1], "prev")))

        assert list(itertools.chain.from_iterable(map(names_in, pages))) == whole
        assert len(pages) == 3
        assert {page.headers["x-total-count"] for page in pages} == {"11"}
        assert back.json() == pages[1].json()

    async def test_may_be_skipped_to(self, catalog: RunningService) -> None:
        await _shelve(catalog)

        answer = await catalog.anonymous.get("/products?skip=2&limit=2")
        beyond = await catalog.anonymous.get("/products?skip=50")

        assert (names_in(answer), answer.headers["x-total-count"]) == (["Zebra", "atlas"], "5")
        assert (names_in(beyond), beyond.headers["x-total-count"]) == ([], "5")


class TestSearch:
    @pytest.fixture
    async def lamps(self, catalog: RunningService) -> RunningService:
        items = [
            draft(name="Café Crème Lamp", description="Warm, 100% cotton shade", sku="LMP-100/X"),
            draft(name="STRAẞE light", description="it's <b>bold</b>; DROP TABLE", sku="STR-7"),
            draft(name="落地灯", description="ランプ", sku="CJK-1"),
            draft(name="Under_score", description="a\\b", sku="U_1"),
        ]
        assert (await editor(catalog).post("/products/batch", json=items)).status_code == 200
        return catalog

    @pytest.mark.parametrize(
        ("search", "found"),
        [
            ("lamp", ["Café Crème Lamp"]),
            ("LAMP cafe", ["Café Crème Lamp"]),
            ("cafe\u0301", ["Café Crème Lamp"]),
            ("cotton lmp", ["Café Crème Lamp"]),
            ("LMP-100/X", ["Café Crème Lamp"]),
            ("100", ["Café Crème Lamp"]),
            ("lam", []),
            ("lamp light", []),
            ("strasse", ["STRAẞE light"]),
            ("it's", ["STRAẞE light"]),
            ("drop", ["STRAẞE light"]),
            ("灯", ["落地灯"]),
            ("score", ["Under_score"]),
            ("%", []),
            ("_", []),
            ("l%p", []),
            ("' OR 1=1 --", []),
            ("\\", []),
            ("\ufffd", []),
        ],
    )
    async def test_finds_words_and_nothing_else(self, search: str, found: list[str], lamps: RunningService) -> None:
        assert await names(lamps, search=search) == found


class TestKeptAnswers:
    async def test_are_right_after_each_write(self, catalog: RunningService) -> None:
        seen: list[tuple[Any, ...]] = []

        async def look() -> None:
            answer = await catalog.anonymous.get("/products?limit=1")
            seen.append((answer.headers["x-total-count"], names_in(answer)))

        await look()
        product = await add(catalog, name="One")
        path = f"/products/{product['product_id']}"
        await look()
        await editor(catalog).patch(path, json={"name": "Two"})
        await look()
        await editor(catalog).post("/products/batch", json=[draft(name="Three"), draft(name="Four")])
        await look()
        await editor(catalog).delete(path)
        await look()

        assert seen == [("0", []), ("1", ["One"]), ("1", ["Two"]), ("3", ["Four"]), ("2", ["Four"])]

    async def test_cost_no_look_at_the_database(self, embedded: RunningService) -> None:
        await _shelve(embedded)
        first = await embedded.anonymous.get("/products?limit=2")
        async with embedded.context.database.writer.begin() as connection:
            await connection.exec_driver_sql("DELETE FROM products")

        again = await embedded.anonymous.get("/products?limit=2")

        assert (again.content, again.headers["link"]) == (first.content, first.headers["link"])
        assert names_in(await embedded.anonymous.get("/products?limit=3")) == []

    async def test_end_by_themselves(self, embedded: RunningService) -> None:
        await add(embedded)
        await embedded.anonymous.get("/products")
        async with embedded.context.database.writer.begin() as connection:
            await connection.exec_driver_sql("DELETE FROM products")

        embedded.clock.advance(31)

        assert await names(embedded) == []

    async def test_are_forgotten_through_redis_too(self, sqlite_databases: Databases, redis_url: str) -> None:
        async with running(service, sqlite_databases, variables={"REDIS_URL": redis_url}) as catalog:
            await add(catalog, name="One")
            before = await names(catalog)
            await add(catalog, name="Two")

            assert (before, await names(catalog)) == (["One"], ["Two", "One"])


class TestCamelCase:
    async def test_spells_all_but_the_keys_of_attributes(self, sqlite_databases: Databases) -> None:
        system = system_of(service, case="camel", prefix="/api")
        async with running(service, sqlite_databases, system=system) as catalog:
            body = {**draft(), "stockQuantity": 2, "attributes": {"snake_key": 1, "camelKey": {"inner_key": 2}}}
            made = await editor(catalog).post("/api/products", json=body)
            listed = await catalog.anonymous.get("/api/products?minPrice=1&inStock=true")
            batch = await editor(catalog).post(
                "/api/products/batch", json=[draft(stockQuantity=1), {"stockQuantity": -1}]
            )

        assert made.headers["location"].startswith("/api/products/prod_")
        assert listed.json() == [made.json()]
        assert {"productId", "stockQuantity", "createdAt"} < set(made.json())
        assert made.json()["attributes"] == body["attributes"]
        assert "stockQuantity" in batch.json()[0]
        assert ["stockQuantity"] in [error["location"] for error in batch.json()[1]["errors"]]
