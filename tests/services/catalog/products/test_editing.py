import asyncio

import pytest
from tests.services.catalog.support import create_product, editor, list_names, product_body

from portico.testing.running_service import RunningService

UNKNOWN = "/products/prod_00000000000000000000000000"


class TestRead:
    async def test_of_an_unknown_product_is_404(self, embedded: RunningService) -> None:
        answers = [await embedded.anonymous.get(UNKNOWN), await embedded.anonymous.get("/products/lamp")]

        assert [answer.status_code for answer in answers] == [404, 404]
        assert answers[0].json()["code"] == "product_not_found"

    async def test_is_304_if_the_client_has_the_current_etag(self, embedded: RunningService) -> None:
        path = f"/products/{(await create_product(embedded))['product_id']}"
        known = {"if-none-match": (await embedded.anonymous.get(path)).headers["etag"]}

        before = await embedded.anonymous.get(path, headers=known)
        await editor(embedded).patch(path, json={"name": "Box"})
        after = await embedded.anonymous.get(path, headers=known)

        assert (before.status_code, before.content, before.headers["etag"]) == (304, b"", '"1"')
        assert (after.status_code, after.json()["name"], after.headers["etag"]) == (200, "Box", '"2"')

    async def test_does_not_cache_errors(self, embedded: RunningService) -> None:
        product = await create_product(embedded)
        path = f"/products/{product['product_id']}"
        assert (await embedded.anonymous.get(f"{path}?nope=1")).status_code == 422

        assert (await embedded.anonymous.get(path)).json() == product


class TestReplace:
    async def test_resets_omitted_fields_to_their_defaults(self, catalog: RunningService) -> None:
        product = await create_product(
            catalog, description="Bright", attributes={"a": 1}, stock_quantity=4, currency="EUR"
        )
        catalog.clock.advance(60)
        path = f"/products/{product['product_id']}"

        answer = await editor(catalog).put(path, json={"name": "Box", "price": 5, "category": "garden", "sku": "BX-9"})

        assert answer.status_code == 200
        assert answer.json() == {
            **product,
            "name": "Box",
            "description": "",
            "price": 5.0,
            "currency": "USD",
            "category": "garden",
            "sku": "BX-9",
            "attributes": {},
            "updated_at": "2026-01-05T09:01:00Z",
        }
        assert (await catalog.anonymous.get(path)).json() == answer.json()

    async def test_does_not_change_stock(self, embedded: RunningService) -> None:
        path = f"/products/{(await create_product(embedded))['product_id']}"

        answers = [
            await editor(embedded).put(path, json=product_body(stock_quantity=1)),
            await editor(embedded).patch(path, json={"stock_quantity": 1}),
        ]

        for answer in answers:
            assert answer.status_code == 422
            assert answer.json()["errors"][0]["location"] == ["body", "stock_quantity"]
            assert "/inventory" in answer.json()["errors"][0]["message"]

    async def test_rejects_the_sku_of_another_product(self, catalog: RunningService) -> None:
        await create_product(catalog, sku="BX-1")
        other = await create_product(catalog)

        answer = await editor(catalog).put(f"/products/{other['product_id']}", json=product_body(sku="BX-1"))

        assert (answer.status_code, answer.json()["code"]) == (409, "sku_taken")

    async def test_of_concurrent_requests_with_one_etag_one_succeeds(self, catalog: RunningService) -> None:
        path = f"/products/{(await create_product(catalog))['product_id']}"
        tag = {"if-match": (await catalog.anonymous.get(path)).headers["etag"]}
        caller = editor(catalog)

        answers = await asyncio.gather(
            *(caller.put(path, json=product_body(name=f"By {number}"), headers=tag) for number in range(6))
        )

        assert sorted(answer.status_code for answer in answers) == [200, *[412] * 5]
        winner = next(answer for answer in answers if answer.status_code == 200)
        assert (await catalog.anonymous.get(path)).json() == winner.json()


class TestUpdate:
    async def test_changes_only_the_given_fields(self, catalog: RunningService) -> None:
        product = await create_product(catalog, description="Bright", attributes={"a": 1, "b": 2})
        path = f"/products/{product['product_id']}"
        catalog.clock.advance(60)

        answer = await editor(catalog).patch(path, json={"price": 7.5, "attributes": {"a": True}})

        changed = {"price": 7.5, "attributes": {"a": True}, "updated_at": "2026-01-05T09:01:00Z"}
        assert answer.json() == {**product, **changed}
        read = (await catalog.anonymous.get(path)).json()
        assert read == answer.json()
        assert read["attributes"]["a"] is True

    async def test_without_a_change_keeps_revision_and_time(self, embedded: RunningService) -> None:
        product = await create_product(embedded)
        path = f"/products/{product['product_id']}"
        embedded.clock.advance(60)

        answers = [
            await editor(embedded).patch(path, json={}),
            await editor(embedded).patch(path, json={"name": product["name"], "price": product["price"]}),
        ]

        assert [(answer.json(), answer.headers["etag"]) for answer in answers] == [(product, '"1"')] * 2

    @pytest.mark.parametrize(
        "body", [{"name": None}, {"sku": None}, {"price": None}, {"colour": "red"}, [], "x"], ids=repr
    )
    async def test_rejects_null_and_unknown_fields(self, body: object, embedded: RunningService) -> None:
        path = f"/products/{(await create_product(embedded))['product_id']}"

        assert (await editor(embedded).patch(path, json=body)).status_code == 422

    async def test_rejects_a_currency_with_fewer_decimals_than_the_price(self, embedded: RunningService) -> None:
        path = f"/products/{(await create_product(embedded, price=10.5))['product_id']}"

        refused = await editor(embedded).patch(path, json={"currency": "JPY"})
        both = await editor(embedded).patch(path, json={"currency": "JPY", "price": 1500})

        assert (refused.status_code, refused.json()["code"]) == (422, "too_precise")
        assert (both.json()["price"], both.json()["currency"]) == (1500.0, "JPY")

    async def test_honours_if_match(self, embedded: RunningService) -> None:
        path = f"/products/{(await create_product(embedded))['product_id']}"
        caller = editor(embedded)

        statuses = [
            (await caller.patch(path, json={"name": name}, headers={"if-match": tag})).status_code
            for name, tag in [("A", '"1"'), ("B", '"1"'), ("C", "*"), ("D", '"9", "3"'), ("E", 'W/"4"')]
        ]

        assert statuses == [200, 412, 200, 200, 412]

    async def test_replaces_the_search_words(self, catalog: RunningService) -> None:
        product = await create_product(catalog, name="Old lamp")

        await editor(catalog).patch(f"/products/{product['product_id']}", json={"name": "New lamp"})

        assert await list_names(catalog, search="lamp new") == ["New lamp"]
        assert await list_names(catalog, search="old") == []


class TestPreconditions:
    @pytest.mark.parametrize("condition", ["*", '"1"', 'W/"1"'])
    @pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
    async def test_if_none_match_protects_what_the_caller_has(
        self, method: str, condition: str, embedded: RunningService
    ) -> None:
        product = await create_product(embedded, name="Box")
        path = f"/products/{product['product_id']}"
        body = None if method == "DELETE" else product_body(name="Crate") if method == "PUT" else {"name": "Crate"}

        answer = await editor(embedded).request(method, path, json=body, headers={"if-none-match": condition})

        assert (answer.status_code, answer.json()["code"]) == (412, "precondition_failed")
        assert (await embedded.anonymous.get(path)).json() == product

    async def test_if_match_compares_the_whole_tag_of_a_cached_response(self, embedded: RunningService) -> None:
        path = f"/products/{(await create_product(embedded, stock_quantity=3))['product_id']}"
        tag = (await embedded.anonymous.get(path)).headers["etag"]

        answers = [await embedded.anonymous.get(path, headers={"if-match": each}) for each in (tag, '"1"')]

        assert [answer.status_code for answer in answers] == [200, 412]


class TestDelete:
    async def test_removes_the_product_and_frees_its_sku(self, catalog: RunningService) -> None:
        product = await create_product(catalog, sku="BX-1", name="Box")
        path = f"/products/{product['product_id']}"

        answer = await editor(catalog).delete(path, headers={"if-match": '"1"'})

        assert (answer.status_code, answer.content) == (204, b"")
        assert (await catalog.anonymous.get(path)).status_code == 404
        assert await list_names(catalog, search="box") == []
        await create_product(catalog, sku="BX-1")

    async def test_rejects_an_outdated_etag_an_unknown_product_and_an_anonymous_caller(
        self, catalog: RunningService
    ) -> None:
        path = f"/products/{(await create_product(catalog))['product_id']}"

        answers = [
            await editor(catalog).delete(path, headers={"if-match": '"2"'}),
            await editor(catalog).delete(UNKNOWN),
            await catalog.anonymous.delete(path),
        ]

        assert [answer.status_code for answer in answers] == [412, 404, 401]
