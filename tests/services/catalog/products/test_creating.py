import asyncio

import pytest
from dirty_equals import IsDatetime, IsStr
from tests.services.catalog.support import create_product, editor, product_body

from portico.kit.auth.introspection import IntrospectionVerifier
from portico.testing.running_service import RunningService


class TestCreate:
    async def test_returns_the_product_with_location_and_etag(self, catalog: RunningService) -> None:
        body = product_body(sku="BX-1", stock_quantity=3, attributes={"fooBar": [1, {"deep_key": None}]})

        answer = await editor(catalog).post("/products", json=body)

        assert answer.status_code == 201
        product = answer.json()
        assert product == {
            "product_id": IsStr(regex="prod_[0-9a-z]{26}"),
            "name": "Lamp",
            "description": "",
            "price": 19.99,
            "currency": "USD",
            "category": "home",
            "sku": "BX-1",
            "stock_quantity": 3,
            "attributes": {"fooBar": [1, {"deep_key": None}]},
            "created_at": IsDatetime(iso_string=True),
            "updated_at": product["created_at"],
        }
        assert answer.headers["location"] == f"/products/{product['product_id']}"
        assert answer.headers["etag"] == '"1.1"'
        assert (await catalog.anonymous.get(answer.headers["location"])).json() == product

    async def test_rejects_an_existing_sku(self, catalog: RunningService) -> None:
        await create_product(catalog, sku="BX-1")

        answer = await editor(catalog).post("/products", json=product_body(sku="BX-1"))

        assert (answer.status_code, answer.json()["code"], answer.json()["sku"]) == (409, "sku_taken", "BX-1")

    async def test_skus_are_case_sensitive(self, catalog: RunningService) -> None:
        await create_product(catalog, sku="bx-1")

        assert (await editor(catalog).post("/products", json=product_body(sku="BX-1"))).status_code == 201

    async def test_of_two_concurrent_requests_with_one_sku_one_succeeds(self, catalog: RunningService) -> None:
        answers = await asyncio.gather(
            *(editor(catalog).post("/products", json=product_body(sku="BX-1")) for _ in range(4))
        )

        assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]

    async def test_replays_the_response_for_an_idempotency_key(self, catalog: RunningService) -> None:
        caller, body, key = editor(catalog), product_body(), {"idempotency-key": "once"}

        first = await caller.post("/products", json=body, headers=key)
        again = await caller.post("/products", json=body, headers=key)

        assert (again.status_code, again.json()) == (201, first.json())
        assert again.headers["location"] == first.headers["location"]

    async def test_requires_the_permission(self, embedded: RunningService) -> None:
        answers = [
            await embedded.anonymous.post("/products", json=product_body()),
            await embedded.as_user().post("/products", json=product_body()),
            await embedded.as_service("orders", "products:write").post("/products", json=product_body()),
        ]

        assert [answer.status_code for answer in answers] == [401, 403, 201]
        assert answers[1].json()["permission"] == "products:write"

    async def test_is_unavailable_without_identity_while_reads_continue(self, embedded: RunningService) -> None:
        path = f"/products/{(await create_product(embedded))['product_id']}"
        embedded.context.verifier = IntrospectionVerifier(embedded.issuer, embedded.issuer.form, embedded.clock)
        caller = editor(embedded)
        embedded.issuer.down = True

        writes = [await caller.post("/products", json=product_body()), await caller.delete(path)]
        reads = [await caller.get("/products"), await caller.get(path)]
        embedded.issuer.down = False
        embedded.clock.advance(2)
        later = await caller.post("/products", json=product_body())

        assert [(answer.status_code, "retry-after" in answer.headers) for answer in writes] == [(503, True)] * 2
        assert [answer.status_code for answer in reads] == [200, 200]
        assert later.status_code == 201


class TestValidation:
    @pytest.mark.parametrize(
        "fault",
        [
            {"name": " "},
            {"name": "x" * 201},
            {"name": None},
            {"price": -1},
            {"price": "9.99"},
            {"price": True},
            {"price": 1e11},
            {"price": 9.999},
            {"price": 0.5, "currency": "JPY"},
            {"currency": "XXX"},
            {"currency": "usd"},
            {"category": ""},
            {"sku": "x" * 65},
            {"stock_quantity": -1},
            {"stock_quantity": 1.5},
            {"stock_quantity": 10**10},
            {"colour": "red"},
            {"attributes": []},
            {"attributes": {"a": {"b": {"c": {"d": {"e": {"f": 1}}}}}}},
            {"attributes": {str(number): number for number in range(150)}},
            {"attributes": {"text": "x" * 20_000}},
            {"attributes": {"large": 2**60}},
            {"attributes": {"large": 1e300}},
        ],
        ids=repr,
    )
    async def test_rejects_an_invalid_body(self, fault: dict[str, object], embedded: RunningService) -> None:
        answer = await editor(embedded).post("/products", json=product_body(**fault))

        assert answer.status_code == 422, answer.content
        assert (await embedded.anonymous.get("/products")).json() == []

    @pytest.mark.parametrize(
        ("price", "currency"),
        [(0, "USD"), (0.1, "USD"), (999.99, "EUR"), (12, "JPY"), (1.234, "KWD"), (9999999.99, "USD")],
    )
    async def test_stores_prices_exactly(self, price: float, currency: str, catalog: RunningService) -> None:
        product = await create_product(catalog, price=price, currency=currency)

        assert (product["price"], product["currency"]) == (price, currency)
        assert (await catalog.anonymous.get("/products")).json() == [product]
