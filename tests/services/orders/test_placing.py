from typing import Any

import pytest
from tests.services.orders.shop import ADDRESS, Orders, open_orders, somebody

from portico.contracts.catalog import ProductId
from portico.testing.databases import Databases


class TestPlaceOrder:
    async def test_is_at_the_catalogues_prices(self, orders: Orders) -> None:
        lamp, bulb = orders.shop.sells(19.99), orders.shop.sells(0.1, name="A bulb")
        jane = somebody()

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
        assert await orders.events_of(order["order_id"]) == [("order.created", "pending")]
        assert orders.shop.asked == ["products"]

    async def test_a_repeat_with_the_same_key_places_one(self, orders: Orders) -> None:
        jane = orders.as_user()
        item = {"product_id": orders.shop.sells(), "quantity": 1}
        body = {"items": [item], "shipping_address": ADDRESS, "billing_address": ADDRESS, "payment_method": "pm_ok"}

        first = await jane.post("/orders", json=body, headers={"idempotency-key": "k"})
        again = await jane.post("/orders", json=body, headers={"idempotency-key": "k"})

        assert (first.status_code, again.status_code) == (201, 201)
        assert first.content == again.content
        assert len((await jane.get("/orders")).json()) == 1

    async def test_another_price_than_the_catalogues_is_told(self, embedded: Orders) -> None:
        lamp = embedded.shop.sells(19.99)

        answer = await embedded.try_to_place({"product_id": lamp, "quantity": 1, "price": 18})

        assert (answer.status_code, answer.json()["code"]) == (409, "price_changed")
        assert (answer.json()["product_id"], answer.json()["price"], answer.json()["currency"]) == (
            lamp,
            19.99,
            "USD",
        )

    async def test_products_that_there_are_not_are_named(self, embedded: Orders) -> None:
        missing = ProductId.new()

        answer = await embedded.try_to_place(
            {"product_id": embedded.shop.sells(), "quantity": 1}, {"product_id": missing, "quantity": 1}
        )

        assert (answer.status_code, answer.json()["code"]) == (422, "products_unknown")
        assert answer.json()["product_ids"] == [missing]

    async def test_currencies_are_not_mixed(self, embedded: Orders) -> None:
        answer = await embedded.try_to_place(
            {"product_id": embedded.shop.sells(currency="USD"), "quantity": 1},
            {"product_id": embedded.shop.sells(currency="EUR"), "quantity": 1},
        )

        assert (answer.status_code, answer.json()["code"]) == (422, "mixed_currencies")
        assert answer.json()["currencies"] == ["EUR", "USD"]

    async def test_the_total_has_a_limit(self, embedded: Orders) -> None:
        answer = await embedded.try_to_place({"product_id": embedded.shop.sells(9_999_999_999.0), "quantity": 2})

        assert (answer.status_code, answer.json()["code"]) == (422, "order_too_large")

    @pytest.mark.parametrize("quantity", [0, -1, 10_001, 1.5, "2", None, True])
    async def test_a_quantity_is_a_whole_number_in_bounds(self, embedded: Orders, quantity: Any) -> None:
        answer = await embedded.try_to_place({"product_id": embedded.shop.sells(), "quantity": quantity})

        assert answer.status_code == 422
        assert embedded.shop.asked == []

    async def test_has_items_each_product_once_and_not_too_many(self, embedded: Orders) -> None:
        lamp = embedded.shop.sells()
        none = {"items": [], "shipping_address": ADDRESS, "billing_address": ADDRESS}
        many = [{"product_id": ProductId.new(), "quantity": 1} for _ in range(101)]

        assert (await embedded.as_user().post("/orders", json=none)).status_code == 422
        assert (await embedded.try_to_place(*[{"product_id": lamp, "quantity": 1}] * 2)).status_code == 422
        assert (await embedded.try_to_place(*many)).status_code == 422

    async def test_for_somebody_else_it_takes_a_permission(self, embedded: Orders) -> None:
        jane = somebody()
        refused = await embedded.try_to_place(user_id=jane)
        placed = await embedded.try_to_place(by=embedded.staff, user_id=jane)
        own = await embedded.try_to_place(by=embedded.as_user(subject=jane), user_id=jane)

        assert (refused.status_code, refused.json()["permission"]) == (403, "orders:write")
        assert (placed.status_code, placed.json()["user_id"]) == (201, jane)
        assert own.status_code == 201

    async def test_is_for_those_who_signed_in(self, embedded: Orders) -> None:
        assert (await embedded.try_to_place(by=embedded.run.anonymous)).status_code == 401
        assert (await embedded.try_to_place(by=embedded.run.as_service("payments"))).status_code == 403

    async def test_without_the_catalogue_nothing_is_ordered(self, embedded: Orders) -> None:
        embedded.shop.troubles["products"].append("unavailable")

        answer = await embedded.try_to_place()

        assert (answer.status_code, answer.json()["service"]) == (503, "catalog")

    async def test_how_it_is_paid_is_said_where_not_all_is_embedded(self, orders: Orders) -> None:
        answer = await orders.try_to_place(payment_method=None)

        if orders.run.context.database.dialect == "sqlite":
            assert answer.status_code == 201
        else:
            assert (answer.status_code, answer.json()["code"]) == (422, "payment_method_missing")

    async def test_in_one_process_or_another_a_key_is_one_order(self, sqlite_databases: Databases) -> None:
        async with open_orders(sqlite_databases) as orders:
            jane = orders.as_user()
            item = {"product_id": orders.shop.sells(), "quantity": 1}
            body = {"items": [item], "shipping_address": ADDRESS, "billing_address": ADDRESS}
            await jane.post("/orders", json=body, headers={"idempotency-key": "k"})

            other = await jane.post(
                "/orders", json={**body, "payment_method": "pm_ok"}, headers={"idempotency-key": "k"}
            )

            assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


class TestReading:
    async def test_lists_ones_own_and_for_staff_all(self, orders: Orders) -> None:
        jane, joe = orders.as_user(), orders.as_user()
        first, second = await orders.placed(by=jane), await orders.placed(by=jane)
        third = await orders.placed(by=joe)

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
        read = await orders.confirmed()
        pending = await orders.placed()

        confirmed = await orders.staff.get("/orders?status=confirmed")
        waiting = await orders.staff.get("/orders?status=pending")

        assert [each["order_id"] for each in confirmed.json()] == [read["order_id"]]
        assert [each["order_id"] for each in waiting.json()] == [pending["order_id"]]
        assert (await orders.staff.get("/orders?status=lost")).status_code == 422

    async def test_anothers_order_is_not_there(self, embedded: Orders) -> None:
        order = await embedded.placed()
        stranger = embedded.as_user()

        for path in ("", "/timeline", "/payments"):
            answer = await stranger.get(f"/orders/{order['order_id']}{path}")
            assert (answer.status_code, answer.json()["code"]) == (404, "order_not_found")
        assert (await stranger.post(f"/orders/{order['order_id']}/cancel")).status_code == 404

    async def test_carries_its_revision(self, embedded: Orders) -> None:
        order = await embedded.placed()
        path = f"/orders/{order['order_id']}"

        seen = await embedded.staff.get(path, headers={"if-none-match": '"1"'})
        await embedded.runner.run_due()
        changed = await embedded.staff.get(path, headers={"if-none-match": '"1"'})

        assert (seen.status_code, changed.status_code) == (304, 200)

    async def test_lists_what_was_paid(self, embedded: Orders) -> None:
        order = await embedded.confirmed()

        (payment,) = (await embedded.staff.get(f"/orders/{order['order_id']}/payments")).json()

        assert (payment["status"], payment["amount"], payment["refunded"]) == ("succeeded", 10.0, 0.0)


class TestTotals:
    async def test_are_for_services_by_age_in_pages(self, orders: Orders) -> None:
        first, second = await orders.confirmed(), await orders.placed()
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
