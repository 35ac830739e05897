import itertools
from datetime import timedelta

import pytest
from dirty_equals import IsStr
from tests.services.catalog.goods import add, draft, editor, linked, names
from tests.services.catalog.stock.shelves import (
    adjust,
    assert_sound,
    changed,
    figures,
    held,
    keeper,
    ledger,
    shown,
    stocked,
)

from portico.contracts.catalog import ProductId
from portico.kit.http.schema import rfc3339
from portico.testing.running_service import RunningService

UNKNOWN = ProductId.new()


class TestLevel:
    async def test_of_a_new_product_is_its_first_receipt(self, catalog: RunningService) -> None:
        product_id = await stocked(catalog, 7)

        answer = await catalog.anonymous.get(f"/inventory/{product_id}")

        assert answer.json() == {
            "product_id": product_id,
            "on_hand": 7,
            "reserved": 0,
            "available": 7,
            "updated_at": "2026-01-05T09:00:00Z",
        }
        assert await ledger(catalog, product_id) == [("receipt", 7, 7, 0)]

    async def test_of_one_of_which_there_is_none_has_no_entry(self, catalog: RunningService) -> None:
        product_id = await stocked(catalog, 0)

        assert await figures(catalog, product_id) == (0, 0, 0)
        assert await ledger(catalog, product_id) == []

    async def test_is_there_for_each_product_of_a_batch(self, catalog: RunningService) -> None:
        answer = await editor(catalog).post("/products/batch", json=[draft(stock_quantity=n) for n in range(4)])

        products = [ProductId(product["product_id"]) for product in answer.json()]

        assert [await figures(catalog, each) for each in products] == [(n, 0, n) for n in range(4)]
        await assert_sound(catalog)

    async def test_is_known_by_its_tag_until_it_changes(self, catalog: RunningService) -> None:
        product_id = await stocked(catalog, 7)
        path = f"/inventory/{product_id}"
        tag = (await catalog.anonymous.get(path)).headers["etag"]

        known = await catalog.anonymous.get(path, headers={"if-none-match": tag})
        await held(catalog, {product_id: 1})
        changed_since = await catalog.anonymous.get(path, headers={"if-none-match": tag})

        assert (known.status_code, known.content) == (304, b"")
        assert (changed_since.status_code, changed_since.json()["reserved"]) == (200, 1)

    async def test_of_no_product_is_not_found(self, embedded: RunningService) -> None:
        answer = await embedded.anonymous.get(f"/inventory/{UNKNOWN}")

        assert (answer.status_code, answer.json()["code"]) == (404, "product_not_found")


class TestProducts:
    async def test_say_what_is_available(self, catalog: RunningService) -> None:
        product_id = await stocked(catalog, 5, name="Lamp")
        seen = [(await shown(catalog, product_id), await names(catalog, in_stock="true"))]

        reservation = await held(catalog, {product_id: 5})
        seen.append((await shown(catalog, product_id), await names(catalog, in_stock="true")))
        await changed(catalog, reservation, "release")
        seen.append((await shown(catalog, product_id), await names(catalog, in_stock="true")))
        await adjust(catalog, product_id, -2)
        seen.append((await shown(catalog, product_id), await names(catalog, in_stock="true")))

        assert seen == [(5, ["Lamp"]), (0, []), (5, ["Lamp"]), (3, ["Lamp"])]

    async def test_are_counted_right_when_the_last_one_goes(self, catalog: RunningService) -> None:
        some = [await stocked(catalog, 1) for _ in range(3)]

        async def count() -> str:
            return (await catalog.anonymous.get("/products?in_stock=true&limit=1")).headers["x-total-count"]

        before = await count()
        await held(catalog, {some[0]: 1})

        assert (before, await count()) == ("3", "2")

    async def test_have_another_tag_but_the_same_revision(self, catalog: RunningService) -> None:
        product_id = await stocked(catalog, 5)
        path = f"/products/{product_id}"
        before = (await catalog.anonymous.get(path)).headers["etag"]
        await held(catalog, {product_id: 1})

        reread = await catalog.anonymous.get(path, headers={"if-none-match": before})
        edited = await editor(catalog).patch(path, json={"name": "Torch"}, headers={"if-match": before})
        late = await editor(catalog).patch(path, json={"name": "Lamp"}, headers={"if-match": before})

        assert (reread.status_code, reread.json()["stock_quantity"]) == (200, 4)
        assert (edited.status_code, edited.json()["stock_quantity"]) == (200, 4)
        assert late.status_code == 412
        assert (await catalog.anonymous.get(path)).headers["etag"] == edited.headers["etag"]


class TestDeletedProducts:
    async def test_are_sold_no_more_but_what_is_reserved_ships(self, catalog: RunningService) -> None:
        product_id = await stocked(catalog, 5)
        reservation = await held(catalog, {product_id: 2})
        catalog.clock.advance(60)
        await editor(catalog).delete(f"/products/{product_id}")

        gone = await catalog.anonymous.get(f"/inventory/{product_id}")
        adjusted = await adjust(catalog, product_id, 1)
        await changed(catalog, reservation, "confirm", "ship", "return")

        assert (gone.status_code, adjusted.status_code) == (404, 404)
        assert [entry[0] for entry in await ledger(catalog, product_id)] == [
            "receipt",
            "reservation",
            "shipment",
            "return",
        ]
        await assert_sound(catalog)

    async def test_are_remembered_for_the_time_before(self, embedded: RunningService) -> None:
        product_id = await stocked(embedded, 5)
        then = rfc3339(embedded.clock.now())
        embedded.clock.advance(60)
        await editor(embedded).delete(f"/products/{product_id}")

        later = await embedded.anonymous.get(f"/inventory/{product_id}", params={"at": "2026-01-05T09:01:00Z"})

        assert await figures(embedded, product_id, at=then) == (5, 0, 5)
        assert later.status_code == 404


class TestAnyPastMoment:
    async def test_is_answered(self, catalog: RunningService) -> None:
        product_id = await stocked(catalog, 10)
        moments = [catalog.clock.now()]

        async def note() -> None:
            moments.append(catalog.clock.now())
            catalog.clock.advance(60)

        catalog.clock.advance(60)
        reservation = await held(catalog, {product_id: 3})
        await note()
        await changed(catalog, reservation, "confirm", "ship")
        await note()
        await adjust(catalog, product_id, 5)
        await adjust(catalog, product_id, -1)
        await note()

        async def at(moment: str) -> tuple[int, int, int]:
            return await figures(catalog, product_id, at=moment)

        exactly = [await at(rfc3339(moment)) for moment in moments]
        between = [await at(rfc3339(moment + timedelta(seconds=59.999999))) for moment in moments]
        before = [await at(rfc3339(moment - timedelta(microseconds=1))) for moment in moments]

        assert exactly == between == [(10, 0, 10), (10, 3, 7), (7, 0, 7), (11, 0, 11)]
        assert before == [(0, 0, 0), *exactly[:-1]]
        assert await at(rfc3339(moments[2])) == await at("2026-01-05T10:02:00+01:00") == (7, 0, 7)

    async def test_before_the_first_entry_was_nothing(self, embedded: RunningService) -> None:
        product_id = await stocked(embedded, 10)

        answer = await embedded.anonymous.get(f"/inventory/{product_id}?at=2001-01-01T00:00:00Z")

        assert answer.json()["on_hand"] == 0
        assert answer.json()["updated_at"] is None

    @pytest.mark.parametrize(
        "at", ["2026-01-05T09:00:00.000001Z", "2026-01-05T09:00:00", "yesterday", "5", "", "0000-01-01T00:00:00Z"]
    )
    async def test_is_a_moment_and_past(self, at: str, embedded: RunningService) -> None:
        product_id = await stocked(embedded, 1)

        assert (await embedded.anonymous.get(f"/inventory/{product_id}", params={"at": at})).status_code == 422


class TestAdjustment:
    async def test_is_an_entry_with_who_and_why(self, catalog: RunningService) -> None:
        product_id = await stocked(catalog, 5)
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
        entries = await keeper(catalog).get(f"/inventory/{product_id}/transactions")
        assert entries.json()[0] == answer.json()
        await assert_sound(catalog)

    async def test_leaves_what_is_reserved(self, catalog: RunningService) -> None:
        product_id = await stocked(catalog, 5)
        await held(catalog, {product_id: 3})

        refused = await adjust(catalog, product_id, -3)
        done = await adjust(catalog, product_id, -2)

        assert (refused.status_code, refused.json()["code"]) == (409, "insufficient_stock")
        assert refused.json()["items"] == [{"product_id": product_id, "requested": 3, "available": 2}]
        assert done.status_code == 201
        assert await figures(catalog, product_id) == (3, 3, 0)

    async def test_has_one_effect_for_one_key(self, catalog: RunningService) -> None:
        product_id = await stocked(catalog, 5)
        path, body = f"/inventory/{product_id}/adjustments", {"quantity": 4, "reason": "delivery"}
        caller = keeper(catalog)

        answers = [await caller.post(path, json=body, headers={"idempotency-key": "once"}) for _ in range(3)]

        assert len({answer.content for answer in answers}) == 1
        assert await figures(catalog, product_id) == (9, 0, 9)

    async def test_stops_where_counting_ends(self, embedded: RunningService) -> None:
        product_id = await stocked(embedded, 1_000_000_000)

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
    async def test_refuses_what_makes_no_sense(self, body: dict[str, object], embedded: RunningService) -> None:
        product_id = await stocked(embedded, 1)

        answer = await keeper(embedded).post(
            f"/inventory/{product_id}/adjustments", json={"quantity": 1, "reason": "counted", **body}
        )

        assert answer.status_code == 422
        assert await figures(embedded, product_id) == (1, 0, 1)

    async def test_needs_permission_and_a_product(self, embedded: RunningService) -> None:
        path = f"/inventory/{await stocked(embedded, 1)}/adjustments"
        body = {"quantity": 1, "reason": "counted"}

        answers = [
            await embedded.anonymous.post(path, json=body),
            await embedded.as_user("products:write", "inventory:read").post(path, json=body),
            await keeper(embedded).post(f"/inventory/{UNKNOWN}/adjustments", json=body),
        ]

        assert [answer.status_code for answer in answers] == [401, 403, 404]


class TestTransactions:
    async def test_come_in_pages_newest_first(self, catalog: RunningService) -> None:
        product_id = await stocked(catalog, 1)
        await stocked(catalog, 5)
        for number in range(1, 11):
            await adjust(catalog, product_id, number)
        path = f"/inventory/{product_id}/transactions?limit=4"

        pages = [await keeper(catalog).get(path)]
        while (following := linked(pages[-1], "next")) is not None:
            pages.append(await keeper(catalog).get(following))
        back = await keeper(catalog).get(str(linked(pages[-1], "prev")))

        found = list(itertools.chain.from_iterable(page.json() for page in pages))
        assert [each["quantity"] for each in found] == [*range(10, 0, -1), 1]
        assert {page.headers["x-total-count"] for page in pages} == {"11"}
        assert back.json() == pages[1].json()

    async def test_are_for_those_who_may_read_them(self, embedded: RunningService) -> None:
        path = f"/inventory/{await stocked(embedded, 1)}/transactions"

        answers = [
            await embedded.anonymous.get(path),
            await embedded.as_user("inventory:write").get(path),
            await embedded.as_user("inventory:read").get(path),
            await embedded.as_user("inventory:read").get(f"/inventory/{UNKNOWN}/transactions"),
        ]

        assert [answer.status_code for answer in answers] == [401, 403, 200, 404]


class TestAvailability:
    async def test_is_told_for_each_item(self, catalog: RunningService) -> None:
        plenty, short = await stocked(catalog, 5), await stocked(catalog, 5)
        await held(catalog, {short: 3})
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

    async def test_is_asked_for_some_things_once_each(self, embedded: RunningService) -> None:
        product_id = (await add(embedded))["product_id"]
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
