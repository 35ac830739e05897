import asyncio
from typing import Any

import pytest
from tests.services.orders.shop import ADDRESS, Orders, new_user_id, open_orders
from tests.support.commits import Commits

from portico.contracts.catalog import ProductId
from portico.testing.databases import Databases


class TestPlaceOrder:
    async def test_uses_the_prices_of_catalog(self, orders: Orders) -> None:
        lamp, bulb = orders.shop.add_product(19.99), orders.shop.add_product(0.1, name="A bulb")
        jane = new_user_id()

        answer = await orders.try_to_place(
            {"product_id": lamp, "quantity": 2, "price": 19.99},
            {"product_id": bulb, "quantity": 3},
            by=orders.as_user(subject=jane),
        )

        order = answer.json()
        assert answer.status_code == 201
        assert answer.headers["location"] == f"/orders/{order['order_id']}"
        assert answer.headers["etag"] == '"1"'
        assert order == {
            "order_id": order["order_id"],
            "user_id": jane,
            "status": "pending",
            "items": [
                {"product_id": lamp, "name": "A lamp", "quantity": 2, "price": 19.99, "subtotal": 39.98},
                {"product_id": bulb, "name": "A bulb", "quantity": 3, "price": 0.1, "subtotal": 0.3},
            ],
            "currency": "USD",
            "total": 40.28,
            "shipping_address": ADDRESS,
            "billing_address": ADDRESS,
            "failure_reason": None,
            "failure_detail": None,
            "created_at": "2026-01-05T09:00:00Z",
            "updated_at": "2026-01-05T09:00:00Z",
        }
        assert await orders.published_for(order["order_id"]) == [("order.created", "pending")]
        assert orders.shop.calls == ["products"]

    async def test_a_repeat_with_the_same_idempotency_key_places_one_order(self, orders: Orders) -> None:
        jane = orders.as_user()
        item = {"product_id": orders.shop.add_product(), "quantity": 1}
        body = {"items": [item], "shipping_address": ADDRESS, "billing_address": ADDRESS, "payment_method": "pm_ok"}

        first = await jane.post("/orders", json=body, headers={"idempotency-key": "k"})
        again = await jane.post("/orders", json=body, headers={"idempotency-key": "k"})

        assert (first.status_code, again.status_code) == (201, 201)
        assert first.content == again.content
        assert len((await jane.get("/orders")).json()) == 1

    async def test_rejects_an_outdated_price(self, embedded: Orders) -> None:
        lamp = embedded.shop.add_product(19.99)

        answer = await embedded.try_to_place({"product_id": lamp, "quantity": 1, "price": 18})

        assert (answer.status_code, answer.json()["code"]) == (409, "price_changed")
        assert (answer.json()["product_id"], answer.json()["price"], answer.json()["currency"]) == (
            lamp,
            19.99,
            "USD",
        )

    async def test_rejects_and_names_unknown_products(self, embedded: Orders) -> None:
        missing = ProductId.new()

        answer = await embedded.try_to_place(
            {"product_id": embedded.shop.add_product(), "quantity": 1}, {"product_id": missing, "quantity": 1}
        )

        assert (answer.status_code, answer.json()["code"]) == (422, "products_unknown")
        assert answer.json()["product_ids"] == [missing]

    async def test_rejects_several_currencies(self, embedded: Orders) -> None:
        answer = await embedded.try_to_place(
            {"product_id": embedded.shop.add_product(currency="USD"), "quantity": 1},
            {"product_id": embedded.shop.add_product(currency="EUR"), "quantity": 1},
        )

        assert (answer.status_code, answer.json()["code"]) == (422, "mixed_currencies")
        assert answer.json()["currencies"] == ["EUR", "USD"]

    async def test_the_total_has_a_limit(self, embedded: Orders) -> None:
        answer = await embedded.try_to_place({"product_id": embedded.shop.add_product(9_999_999_999.0), "quantity": 2})

        assert (answer.status_code, answer.json()["code"]) == (422, "order_too_large")

    @pytest.mark.parametrize("quantity", [0, -1, 10_001, 1.5, "2", None, True])
    async def test_rejects_invalid_quantities(self, embedded: Orders, quantity: Any) -> None:
        answer = await embedded.try_to_place({"product_id": embedded.shop.add_product(), "quantity": quantity})

        assert answer.status_code == 422
        assert embedded.shop.calls == []

    async def test_rejects_empty_repeated_and_too_many_items(self, embedded: Orders) -> None:
        lamp = embedded.shop.add_product()
        none = {"items": [], "shipping_address": ADDRESS, "billing_address": ADDRESS}
        many = [{"product_id": ProductId.new(), "quantity": 1} for _ in range(101)]

        assert (await embedded.as_user().post("/orders", json=none)).status_code == 422
        assert (await embedded.try_to_place(*[{"product_id": lamp, "quantity": 1}] * 2)).status_code == 422
        assert (await embedded.try_to_place(*many)).status_code == 422

    async def test_for_another_user_requires_the_permission(self, embedded: Orders) -> None:
        jane = new_user_id()
        refused = await embedded.try_to_place(user_id=jane)
        placed = await embedded.try_to_place(by=embedded.staff, user_id=jane)
        own = await embedded.try_to_place(by=embedded.as_user(subject=jane), user_id=jane)

        assert (refused.status_code, refused.json()["permission"]) == (403, "orders:write")
        assert (placed.status_code, placed.json()["user_id"]) == (201, jane)
        assert own.status_code == 201

    async def test_requires_a_signed_in_caller(self, embedded: Orders) -> None:
        assert (await embedded.try_to_place(by=embedded.run.anonymous)).status_code == 401
        assert (await embedded.try_to_place(by=embedded.run.as_service("payments"))).status_code == 403

    async def test_is_unavailable_without_catalog(self, embedded: Orders) -> None:
        embedded.shop.failures["products"].append("unavailable")

        answer = await embedded.try_to_place()

        assert (answer.status_code, answer.json()["service"]) == (503, "catalog")

    async def test_requires_a_payment_method_unless_the_system_is_embedded(self, orders: Orders) -> None:
        answer = await orders.try_to_place(payment_method=None)

        if orders.run.context.database.dialect == "sqlite":
            assert answer.status_code == 201
        else:
            assert (answer.status_code, answer.json()["code"]) == (422, "payment_method_missing")

    async def test_an_idempotency_key_with_another_body_is_rejected(self, sqlite_databases: Databases) -> None:
        async with open_orders(sqlite_databases) as orders:
            jane = orders.as_user()
            item = {"product_id": orders.shop.add_product(), "quantity": 1}
            body = {"items": [item], "shipping_address": ADDRESS, "billing_address": ADDRESS}
            await jane.post("/orders", json=body, headers={"idempotency-key": "k"})

            other = await jane.post(
                "/orders", json={**body, "payment_method": "pm_ok"}, headers={"idempotency-key": "k"}
            )

            assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


class TestReading:
    async def test_lists_own_orders_and_all_orders_for_staff(self, orders: Orders) -> None:
        jane, joe = orders.as_user(), orders.as_user()
        first, second = await orders.place(by=jane), await orders.place(by=jane)
        third = await orders.place(by=joe)

        mine = await jane.get("/orders")
        all_of_them = await orders.staff.get("/orders")
        page = await orders.staff.get("/orders?limit=2")

        assert [each["order_id"] for each in mine.json()] == [second["order_id"], first["order_id"]]
        assert [each["order_id"] for each in all_of_them.json()] == [
            third["order_id"],
            second["order_id"],
            first["order_id"],
        ]
        assert page.headers["x-total-count"] == "3"
        assert 'rel="next"' in page.headers["link"]

    async def test_filters_by_status(self, orders: Orders) -> None:
        read = await orders.place_and_confirm()
        pending = await orders.place()

        confirmed = await orders.staff.get("/orders?status=confirmed")
        waiting = await orders.staff.get("/orders?status=pending")

        assert [each["order_id"] for each in confirmed.json()] == [read["order_id"]]
        assert [each["order_id"] for each in waiting.json()] == [pending["order_id"]]
        assert (await orders.staff.get("/orders?status=lost")).status_code == 422

    async def test_the_order_of_another_user_is_404(self, embedded: Orders) -> None:
        order = await embedded.place()
        stranger = embedded.as_user()

        for path in ("", "/timeline", "/payments"):
            answer = await stranger.get(f"/orders/{order['order_id']}{path}")
            assert (answer.status_code, answer.json()["code"]) == (404, "order_not_found")
        assert (await stranger.post(f"/orders/{order['order_id']}/cancel")).status_code == 404

    async def test_uses_the_revision_as_etag(self, embedded: Orders) -> None:
        order = await embedded.place()
        path = f"/orders/{order['order_id']}"

        seen = await embedded.staff.get(path, headers={"if-none-match": '"1"'})
        await embedded.runner.run_due()
        changed = await embedded.staff.get(path, headers={"if-none-match": '"1"'})

        assert (seen.status_code, changed.status_code) == (304, 200)

    async def test_lists_payments(self, embedded: Orders) -> None:
        order = await embedded.place_and_confirm()

        (payment,) = (await embedded.staff.get(f"/orders/{order['order_id']}/payments")).json()

        assert (payment["status"], payment["amount"], payment["refunded"]) == ("succeeded", 10.0, 0.0)


class TestTotals:
    async def test_are_paged_by_age_and_require_a_service(self, orders: Orders) -> None:
        first, second = await orders.place_and_confirm(), await orders.place()
        payments = orders.run.as_service("payments")

        everything = (await payments.get("/orders/totals")).json()
        page = (await payments.get(f"/orders/totals?after={first['order_id']}&limit=1")).json()
        read = (await payments.get("/orders/totals?status=confirmed&status=shipped")).json()
        named = (await payments.get(f"/orders/totals?order_id={second['order_id']}")).json()

        assert [each["order_id"] for each in everything] == [first["order_id"], second["order_id"]]
        assert [each["order_id"] for each in page] == [second["order_id"]]
        assert [(each["order_id"], each["total"], each["status"]) for each in read] == [
            (first["order_id"], 10.0, "confirmed")
        ]
        assert [each["order_id"] for each in named] == [second["order_id"]]
        assert (await orders.staff.get("/orders/totals")).status_code == 403


class TestSimultaneousOrders:
    async def test_are_written_in_few_transactions_and_confirmed(self, orders: Orders) -> None:
        lamp, commits = orders.shop.add_product(stock=1000), Commits(orders.run.context, "orders")
        item = {"product_id": lamp, "quantity": 1}
        placed = await asyncio.gather(*(orders.place(item, by=orders.as_user()) for _ in range(40)))

        await orders.runner.run_due()
        assert 1 <= commits.count < 20  # the first is committed alone, others while it is
        for order in placed:
            assert (await orders.read(order["order_id"]))["status"] == "confirmed"
            assert (await orders.published_for(order["order_id"]))[0] == ("order.created", "pending")
        assert orders.shop.available(lamp) == 960

    async def test_share_the_requests_for_prices(self, embedded: Orders) -> None:
        lamps = [embedded.shop.add_product(number) for number in range(1, 21)]
        embedded.shop.gates["products"] = gate = asyncio.Event()
        items = [{"product_id": lamp, "quantity": 1} for lamp in lamps]

        placing = [asyncio.create_task(embedded.try_to_place(each)) for each in items]
        await asyncio.wait_for(embedded.shop.arrived["products"].wait(), 60)
        gate.set()
        answers = await asyncio.gather(*placing)

        assert [answer.json()["total"] for answer in answers] == list(range(1, 21))
        assert embedded.shop.calls.count("products") < 10

    async def test_with_an_unknown_product_concern_themselves(self, embedded: Orders) -> None:
        lamp, unknown = embedded.shop.add_product(), ProductId.new()

        answers = await asyncio.gather(
            *(embedded.try_to_place({"product_id": each, "quantity": 1}) for each in (lamp, unknown, lamp))
        )

        assert [answer.status_code for answer in answers] == [201, 422, 201]
        assert answers[1].json()["product_ids"] == [unknown]

    async def test_are_refused_one_by_one(self, orders: Orders) -> None:
        lamp = orders.shop.add_product(10)
        right, wrong = ({"product_id": lamp, "quantity": 1, "price": price} for price in (10, 9))

        answers = await asyncio.gather(*(orders.try_to_place(each) for each in (right, wrong, right, wrong, right)))

        assert [answer.status_code for answer in answers] == [201, 409, 201, 409, 201]

    async def test_with_one_key_are_one_order(self, orders: Orders) -> None:
        jane = orders.as_user()
        item = {"product_id": orders.shop.add_product(), "quantity": 1}
        body = {"items": [item], "shipping_address": ADDRESS, "billing_address": ADDRESS, "payment_method": "pm_ok"}

        answers = await asyncio.gather(
            *(jane.post("/orders", json=body, headers={"idempotency-key": "k"}) for _ in range(20))
        )

        made = [answer for answer in answers if answer.status_code == 201]
        assert made
        assert {answer.content for answer in made} == {made[0].content}
        assert {answer.status_code for answer in answers} <= {201, 409}
        assert len((await jane.get("/orders")).json()) == 1

    async def test_take_no_connection_while_they_wait(self, databases: Databases) -> None:
        async with open_orders(databases, variables={"DATABASE_POOL_SIZE": "1"}) as orders:
            answers = await asyncio.gather(*(orders.try_to_place() for _ in range(40)))

            assert {answer.status_code for answer in answers} == {201}
