import asyncio

from tests.services.catalog.support import create_product, editor, list_names, product_body

from portico.testing.running_service import RunningService


class TestBatch:
    async def test_stores_valid_items_and_reports_a_result_for_each_in_order(self, catalog: RunningService) -> None:
        await create_product(catalog, sku="TAKEN")
        items = [
            product_body(name="First", sku="NEW"),
            product_body(name="Same sku", sku="NEW"),
            product_body(sku="TAKEN"),
            product_body(currency="XXX"),
            {"name": 5, "nope": True},
            "a word",
            None,
            product_body(name="Last"),
        ]

        answer = await editor(catalog).post("/products/batch", json=items)

        assert answer.status_code == 200
        results = answer.json()
        assert [result.get("code") or result["name"] for result in results] == [
            "First", "sku_taken", "sku_taken", "unknown_currency", "invalid_request", "invalid_request", "invalid_request",
            "Last",
        ]  # fmt: skip
        assert results[1]["instance"] == "/products/batch#/1"
        assert ["name"] in [error["location"] for error in results[4]["errors"]]
        assert await list_names(catalog) == ["Last", "First", "Lamp"]
        assert await list_names(catalog, search="last") == ["Last"]
        one = await catalog.anonymous.get(f"/products/{results[0]['product_id']}")
        assert (one.json(), one.headers["etag"]) == (results[0], '"1"')

    async def test_accepts_at_most_a_thousand_items(self, embedded: RunningService) -> None:
        items = [product_body(name=f"Lamp {number}") for number in range(1000)]

        answers = [
            await editor(embedded).post("/products/batch", json=items),
            await editor(embedded).post("/products/batch", json=[*items, product_body()]),
            await editor(embedded).post("/products/batch", json=[]),
        ]

        assert [answer.status_code for answer in answers] == [200, 422, 200]
        assert [result["name"] for result in answers[0].json()] == [item["name"] for item in items]
        assert (await embedded.anonymous.get("/products?limit=1")).headers["x-total-count"] == "1000"

    async def test_of_two_concurrent_batches_each_sku_is_stored_once(self, catalog: RunningService) -> None:
        items = [product_body() for _ in range(50)]

        answers = await asyncio.gather(
            editor(catalog).post("/products/batch", json=items),
            editor(catalog).post("/products/batch", json=items[::-1]),
        )

        assert [answer.status_code for answer in answers] == [200, 200]
        made = [result["sku"] for answer in answers for result in answer.json() if "product_id" in result]
        assert sorted(made) == sorted(str(item["sku"]) for item in items)

    async def test_requires_the_permission(self, embedded: RunningService) -> None:
        assert (await embedded.as_user().post("/products/batch", json=[product_body()])).status_code == 403
