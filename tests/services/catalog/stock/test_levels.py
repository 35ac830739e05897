import itertools
from datetime import timedelta

import pytest
from dirty_equals import IsStr
from tests.services.catalog.stock.support import (
    adjust,
    apply_changes,
    assert_no_mismatches,
    create_reservation,
    create_stocked_product,
    inventory_staff,
    read_ledger,
    read_level,
    read_product_stock,
)
from tests.services.catalog.support import create_product, editor, link_target, list_names, product_body

from portico.contracts.catalog import ProductId
from portico.kit.http.schema import rfc3339
from portico.testing.running_service import RunningService

UNKNOWN = ProductId.new()


class TestLevel:
    async def test_of_a_new_product_comes_from_a_receipt(self, catalog: RunningService) -> None:
        product_id = await create_stocked_product(catalog, 7)

        answer = await catalog.anonymous.get(f"/inventory/{product_id}")

        assert answer.json() == {
            "product_id": product_id,
            "on_hand": 7,
            "reserved": 0,
            "available": 7,
            "updated_at": "2026-01-05T09:00:00Z",
        }
        assert await read_ledger(catalog, product_id) == [("receipt", 7, 7, 0)]

    async def test_of_zero_has_no_ledger_entry(self, catalog: RunningService) -> None:
        product_id = await create_stocked_product(catalog, 0)

        assert await read_level(catalog, product_id) == (0, 0, 0)
        assert await read_ledger(catalog, product_id) == []

    async def test_exists_for_each_product_of_a_batch(self, catalog: RunningService) -> None:
        answer = await editor(catalog).post("/products/batch", json=[product_body(stock_quantity=n) for n in range(4)])

        products = [ProductId(product["product_id"]) for product in answer.json()]

        assert [await read_level(catalog, each) for each in products] == [(n, 0, n) for n in range(4)]
        await assert_no_mismatches(catalog)

    async def test_keeps_its_etag_until_it_changes(self, catalog: RunningService) -> None:
        product_id = await create_stocked_product(catalog, 7)
        path = f"/inventory/{product_id}"
        tag = (await catalog.anonymous.get(path)).headers["etag"]

        known = await catalog.anonymous.get(path, headers={"if-none-match": tag})
        await create_reservation(catalog, {product_id: 1})
        changed_since = await catalog.anonymous.get(path, headers={"if-none-match": tag})

        assert (known.status_code, known.content) == (304, b"")
        assert (changed_since.status_code, changed_since.json()["reserved"]) == (200, 1)

    async def test_of_an_unknown_product_is_404(self, embedded: RunningService) -> None:
        answer = await embedded.anonymous.get(f"/inventory/{UNKNOWN}")

        assert (answer.status_code, answer.json()["code"]) == (404, "product_not_found")


class TestProducts:
    async def test_show_the_available_quantity(self, catalog: RunningService) -> None:
        product_id = await create_stocked_product(catalog, 5, name="Lamp")
        seen = [(await read_product_stock(catalog, product_id), await list_names(catalog, in_stock="true"))]

        reservation = await create_reservation(catalog, {product_id: 5})
        seen.append((await read_product_stock(catalog, product_id), await list_names(catalog, in_stock="true")))
        await apply_changes(catalog, reservation, "release")
        seen.append((await read_product_stock(catalog, product_id), await list_names(catalog, in_stock="true")))
        await adjust(catalog, product_id, -2)
        seen.append((await read_product_stock(catalog, product_id), await list_names(catalog, in_stock="true")))

        assert seen == [(5, ["Lamp"]), (0, []), (5, ["Lamp"]), (3, ["Lamp"])]

    async def test_total_is_updated_when_a_product_sells_out(self, catalog: RunningService) -> None:
        some = [await create_stocked_product(catalog, 1) for _ in range(3)]

        async def count() -> str:
            return (await catalog.anonymous.get("/products?in_stock=true&limit=1")).headers["x-total-count"]

        before = await count()
        await create_reservation(catalog, {some[0]: 1})

        assert (before, await count()) == ("3", "2")

    async def test_change_the_etag_but_not_the_revision(self, catalog: RunningService) -> None:
        product_id = await create_stocked_product(catalog, 5)
        path = f"/products/{product_id}"
        before = (await catalog.anonymous.get(path)).headers["etag"]
        await create_reservation(catalog, {product_id: 1})

        reread = await catalog.anonymous.get(path, headers={"if-none-match": before})
        edited = await editor(catalog).patch(path, json={"name": "Torch"}, headers={"if-match": before})
        late = await editor(catalog).patch(path, json={"name": "Lamp"}, headers={"if-match": before})

        assert (reread.status_code, reread.json()["stock_quantity"]) == (200, 4)
        assert (edited.status_code, edited.json()["stock_quantity"]) == (200, 4)
        assert late.status_code == 412
        assert (await catalog.anonymous.get(path)).headers["etag"] == edited.headers["etag"]


class TestDeletedProducts:
    async def test_cannot_be_reserved_but_existing_reservations_ship(self, catalog: RunningService) -> None:
        product_id = await create_stocked_product(catalog, 5)
        reservation = await create_reservation(catalog, {product_id: 2})
        catalog.clock.advance(60)
        await editor(catalog).delete(f"/products/{product_id}")

        gone = await catalog.anonymous.get(f"/inventory/{product_id}")
        adjusted = await adjust(catalog, product_id, 1)
        await apply_changes(catalog, reservation, "confirm", "ship", "return")

        assert (gone.status_code, adjusted.status_code) == (404, 404)
        assert [entry[0] for entry in await read_ledger(catalog, product_id)] == [
            "receipt",
            "reservation",
            "shipment",
            "return",
        ]
        await assert_no_mismatches(catalog)

    async def test_keep_their_past_levels(self, embedded: RunningService) -> None:
        product_id = await create_stocked_product(embedded, 5)
        then = rfc3339(embedded.clock.now())
        embedded.clock.advance(60)
        await editor(embedded).delete(f"/products/{product_id}")

        later = await embedded.anonymous.get(f"/inventory/{product_id}", params={"at": "2026-01-05T09:01:00Z"})

        assert await read_level(embedded, product_id, at=then) == (5, 0, 5)
        assert later.status_code == 404


class TestPastLevel:
    async def test_is_read_from_the_ledger(self, catalog: RunningService) -> None:
        product_id = await create_stocked_product(catalog, 10)
        moments = [catalog.clock.now()]

        async def record_time() -> None:
            moments.append(catalog.clock.now())
            catalog.clock.advance(60)

        catalog.clock.advance(60)
        reservation = await create_reservation(catalog, {product_id: 3})
        await record_time()
        await apply_changes(catalog, reservation, "confirm", "ship")
        await record_time()
        await adjust(catalog, product_id, 5)
        await adjust(catalog, product_id, -1)
        await record_time()

        async def at(moment: str) -> tuple[int, int, int]:
            return await read_level(catalog, product_id, at=moment)

        exactly = [await at(rfc3339(moment)) for moment in moments]
        between = [await at(rfc3339(moment + timedelta(seconds=59.999999))) for moment in moments]
        before = [await at(rfc3339(moment - timedelta(microseconds=1))) for moment in moments]

        assert exactly == between == [(10, 0, 10), (10, 3, 7), (7, 0, 7), (11, 0, 11)]
        assert before == [(0, 0, 0), *exactly[:-1]]
        assert await at(rfc3339(moments[2])) == await at("2026-01-05T10:02:00+01:00") == (7, 0, 7)

    async def test_before_the_first_entry_is_zero(self, embedded: RunningService) -> None:
        product_id = await create_stocked_product(embedded, 10)

        answer = await embedded.anonymous.get(f"/inventory/{product_id}?at=2001-01-01T00:00:00Z")

        assert answer.json()["on_hand"] == 0
        assert answer.json()["updated_at"] is None

    @pytest.mark.parametrize(
        "at", ["2026-01-05T09:00:00.000001Z", "2026-01-05T09:00:00", "yesterday", "5", "", "0000-01-01T00:00:00Z"]
    )
    async def test_rejects_invalid_and_future_times(self, at: str, embedded: RunningService) -> None:
        product_id = await create_stocked_product(embedded, 1)

        assert (await embedded.anonymous.get(f"/inventory/{product_id}", params={"at": at})).status_code == 422


class TestAdjustment:
    async def test_records_the_actor_and_the_reason(self, catalog: RunningService) -> None:
        product_id = await create_stocked_product(catalog, 5)
        caller = catalog.as_user("inventory:write", subject="user_00000000000000000000000001")

        body = {"quantity": -2, "reason": "damaged", "note": "fell off the shelf"}
        answer = await caller.post(f"/inventory/{product_id}/adjustments", json=body)

        assert answer.status_code == 201
        assert answer.json() == {
            "transaction_id": IsStr(regex="stx_[0-9a-z]{26}"),
            "kind": "adjustment",
            "quantity": -2,
            "on_hand_after": 3,
            "reserved_after": 0,
            "reference": None,
            "actor": "user_00000000000000000000000001",
            "reason": "damaged",
            "note": "fell off the shelf",
            "created_at": "2026-01-05T09:00:00Z",
        }
        entries = await inventory_staff(catalog).get(f"/inventory/{product_id}/transactions")
        assert entries.json()[0] == answer.json()
        await assert_no_mismatches(catalog)

    async def test_cannot_go_below_the_reserved_quantity(self, catalog: RunningService) -> None:
        product_id = await create_stocked_product(catalog, 5)
        await create_reservation(catalog, {product_id: 3})

        refused = await adjust(catalog, product_id, -3)
        done = await adjust(catalog, product_id, -2)

        assert (refused.status_code, refused.json()["code"]) == (409, "insufficient_stock")
        assert refused.json()["items"] == [{"product_id": product_id, "requested": 3, "available": 2}]
        assert done.status_code == 201
        assert await read_level(catalog, product_id) == (3, 3, 0)

    async def test_takes_effect_once_per_idempotency_key(self, catalog: RunningService) -> None:
        product_id = await create_stocked_product(catalog, 5)
        path, body = f"/inventory/{product_id}/adjustments", {"quantity": 4, "reason": "delivery"}
        caller = inventory_staff(catalog)

        answers = [await caller.post(path, json=body, headers={"idempotency-key": "once"}) for _ in range(3)]

        assert len({answer.content for answer in answers}) == 1
        assert await read_level(catalog, product_id) == (9, 0, 9)

    async def test_rejects_a_level_above_the_maximum(self, embedded: RunningService) -> None:
        product_id = await create_stocked_product(embedded, 1_000_000_000)

        answer = await adjust(embedded, product_id, 1)

        assert (answer.status_code, answer.json()["code"]) == (409, "too_much_stock")

    @pytest.mark.parametrize(
        "body",
        [
            {"quantity": 0}, {"quantity": 10**10}, {"quantity": -(10**18)}, {"quantity": 1.5}, {"quantity": "1"}, {"quantity": True},
            {"quantity": None}, {"reason": ""}, {"reason": "x" * 101}, {"reason": None}, {"note": "x" * 501}, {"colour": "red"},
        ],
        ids=repr,
    )  # fmt: skip
    async def test_rejects_invalid_bodies(self, body: dict[str, object], embedded: RunningService) -> None:
        product_id = await create_stocked_product(embedded, 1)

        answer = await inventory_staff(embedded).post(
            f"/inventory/{product_id}/adjustments", json={"quantity": 1, "reason": "counted", **body}
        )

        assert answer.status_code == 422
        assert await read_level(embedded, product_id) == (1, 0, 1)

    async def test_requires_the_permission_and_an_existing_product(self, embedded: RunningService) -> None:
        path = f"/inventory/{await create_stocked_product(embedded, 1)}/adjustments"
        body = {"quantity": 1, "reason": "counted"}

        answers = [
            await embedded.anonymous.post(path, json=body),
            await embedded.as_user("products:write", "inventory:read").post(path, json=body),
            await inventory_staff(embedded).post(f"/inventory/{UNKNOWN}/adjustments", json=body),
        ]

        assert [answer.status_code for answer in answers] == [401, 403, 404]


class TestTransactions:
    async def test_are_paged_newest_first(self, catalog: RunningService) -> None:
        product_id = await create_stocked_product(catalog, 1)
        await create_stocked_product(catalog, 5)
        for number in range(1, 11):
            await adjust(catalog, product_id, number)
        path = f"/inventory/{product_id}/transactions?limit=4"

        pages = [await inventory_staff(catalog).get(path)]
        while (following := link_target(pages[-1], "next")) is not None:
            pages.append(await inventory_staff(catalog).get(following))
        back = await inventory_staff(catalog).get(str(link_target(pages[-1], "prev")))

        found = list(itertools.chain.from_iterable(page.json() for page in pages))
        assert [each["quantity"] for each in found] == [*range(10, 0, -1), 1]
        assert [page.headers.get("x-total-count") for page in pages] == ["11", None, None]
        assert back.json() == pages[1].json()

    async def test_require_the_permission(self, embedded: RunningService) -> None:
        path = f"/inventory/{await create_stocked_product(embedded, 1)}/transactions"

        answers = [
            await embedded.anonymous.get(path),
            await embedded.as_user("inventory:write").get(path),
            await embedded.as_user("inventory:read").get(path),
            await embedded.as_user("inventory:read").get(f"/inventory/{UNKNOWN}/transactions"),
        ]

        assert [answer.status_code for answer in answers] == [401, 403, 200, 404]


class TestAvailability:
    async def test_is_reported_for_each_item(self, catalog: RunningService) -> None:
        plenty, short = await create_stocked_product(catalog, 5), await create_stocked_product(catalog, 5)
        await create_reservation(catalog, {short: 3})
        items = [(short, 3), (UNKNOWN, 1), (plenty, 5)]
        body = {"items": [{"product_id": product_id, "quantity": quantity} for product_id, quantity in items]}

        answer = await catalog.anonymous.post("/inventory/availability", json=body)

        assert (answer.status_code, answer.json()) == (
            200,
            [
                {"product_id": short, "requested": 3, "available": 2, "ok": False},
                {"product_id": UNKNOWN, "requested": 1, "available": 0, "ok": False},
                {"product_id": plenty, "requested": 5, "available": 5, "ok": True},
            ],
        )

    async def test_rejects_invalid_items(self, embedded: RunningService) -> None:
        product_id = (await create_product(embedded))["product_id"]
        bad: list[list[dict[str, object]]] = [
            [],
            [{"product_id": product_id, "quantity": 0}],
            [{"product_id": product_id, "quantity": -1}],
            [{"product_id": product_id, "quantity": 10**10}],
            [{"product_id": "lamp", "quantity": 1}],
            [{"product_id": product_id, "quantity": 1}] * 2,
            [{"product_id": ProductId.new(), "quantity": 1} for _ in range(101)],
        ]

        answers = [await embedded.anonymous.post("/inventory/availability", json={"items": items}) for items in bad]

        assert [answer.status_code for answer in answers] == [422] * len(bad)
