import pytest
from tests.services.catalog.stock.support import (
    adjust,
    apply_changes,
    assert_no_mismatches,
    create_reservation,
    create_stocked_product,
    orders_service,
    read_ledger,
    read_level,
    request_change,
    reserve,
)
from tests.services.catalog.support import editor

from portico.contracts.catalog import ProductId, ReservationId
from portico.services.catalog.stock.jobs import expire_reservations
from portico.testing.running_service import RunningService


async def expire(catalog: RunningService, *, after: float = 901) -> None:
    """Advance the clock past a reservation's expiry and run the job."""
    catalog.clock.advance(after)
    await expire_reservations.function(catalog.context)


class TestReserve:
    async def test_reserves_all_items(self, catalog: RunningService) -> None:
        one, other = await create_stocked_product(catalog, 5), await create_stocked_product(catalog, 3)
        reservation_id = ReservationId.new()

        answer = await reserve(catalog, {one: 2, other: 3}, reservation_id=reservation_id, expires_in=60)

        assert answer.status_code == 201
        assert answer.json() == {
            "reservation_id": reservation_id,
            "status": "reserved",
            "items": [{"product_id": one, "quantity": 2}, {"product_id": other, "quantity": 3}],
            "expires_at": "2026-01-05T09:01:00Z",
            "created_at": "2026-01-05T09:00:00Z",
            "updated_at": "2026-01-05T09:00:00Z",
        }
        assert await read_level(catalog, one) == (5, 2, 3)
        assert await read_level(catalog, other) == (3, 3, 0)
        await assert_no_mismatches(catalog)

    async def test_is_idempotent(self, catalog: RunningService) -> None:
        product_id = await create_stocked_product(catalog, 5)
        reservation_id = await create_reservation(catalog, {product_id: 2})

        again = [await reserve(catalog, {product_id: 2}, reservation_id=reservation_id) for _ in range(2)]

        assert [answer.status_code for answer in again] == [200, 200]
        assert await read_level(catalog, product_id) == (5, 2, 3)

    async def test_reserves_nothing_if_one_item_is_short(self, catalog: RunningService) -> None:
        plenty, short, shorter = [await create_stocked_product(catalog, quantity) for quantity in (5, 1, 0)]
        reservation_id = ReservationId.new()

        refused = await reserve(catalog, {plenty: 5, short: 2, shorter: 1}, reservation_id=reservation_id)

        assert (refused.status_code, refused.json()["code"]) == (409, "insufficient_stock")
        assert refused.json()["items"] == [
            {"product_id": short, "requested": 2, "available": 1},
            {"product_id": shorter, "requested": 1, "available": 0},
        ]
        assert await read_level(catalog, plenty) == (5, 0, 5)
        await adjust(catalog, short, 1)
        await adjust(catalog, shorter, 1)
        await create_reservation(catalog, {plenty: 5, short: 2, shorter: 1}, reservation_id=reservation_id)

    async def test_rejects_other_items_under_the_same_id(self, catalog: RunningService) -> None:
        product_id = await create_stocked_product(catalog, 5)
        reservation_id = await create_reservation(catalog, {product_id: 2})

        answer = await reserve(catalog, {product_id: 3}, reservation_id=reservation_id)

        assert (answer.status_code, answer.json()["code"]) == (409, "reservation_differs")
        assert await read_level(catalog, product_id) == (5, 2, 3)

    async def test_rejects_unknown_and_deleted_products(self, catalog: RunningService) -> None:
        there, deleted = await create_stocked_product(catalog, 5), await create_stocked_product(catalog, 5)
        await editor(catalog).delete(f"/products/{deleted}")

        unknown = await reserve(catalog, {there: 1, ProductId.new(): 1})
        gone = await reserve(catalog, {there: 1, deleted: 1})

        assert (unknown.status_code, unknown.json()["code"]) == (404, "product_not_found")
        assert (gone.status_code, gone.json()["items"][0]["available"]) == (409, 0)
        assert await read_level(catalog, there) == (5, 0, 5)

    @pytest.mark.parametrize("quantity", [0, -1, 1_000_000_001, 2**63, 1.5, "2", None])
    async def test_rejects_invalid_quantities(self, quantity: object, embedded: RunningService) -> None:
        product_id = await create_stocked_product(embedded, 5)

        answer = await reserve(embedded, {product_id: quantity})  # type: ignore[dict-item]

        assert answer.status_code == 422

    @pytest.mark.parametrize("seconds", [0, -1, 86_401, 10**18])
    async def test_rejects_invalid_expiry_times(self, seconds: int, embedded: RunningService) -> None:
        assert (
            await reserve(embedded, {await create_stocked_product(embedded, 5): 1}, expires_in=seconds)
        ).status_code == 422

    async def test_requires_a_service(self, embedded: RunningService) -> None:
        reservation_id = await create_reservation(embedded, {await create_stocked_product(embedded, 5): 1})
        path = f"/inventory/reservations/{reservation_id}"
        user = embedded.as_user("*")

        answers = [
            await user.put(path, json={"items": []}),
            await user.delete(path),
            *[await user.post(f"{path}/{what}") for what in ("confirm", "ship", "return")],
            await embedded.anonymous.delete(path),
        ]

        assert [answer.status_code for answer in answers] == [403] * 5 + [401]
        assert answers[0].json()["code"] == "services_only"


class TestConfirm:
    async def test_makes_it_permanent(self, catalog: RunningService) -> None:
        product_id = await create_stocked_product(catalog, 5)
        reservation_id = await create_reservation(catalog, {product_id: 2})

        answers = [await request_change(catalog, reservation_id, "confirm") for _ in range(2)]
        await expire(catalog)

        assert [(each.status_code, each.json()["status"], each.json()["expires_at"]) for each in answers] == [
            (200, "confirmed", None)
        ] * 2
        assert await read_level(catalog, product_id) == (5, 2, 3)

    async def test_rejects_unknown_and_released_reservations(self, catalog: RunningService) -> None:
        released = await create_reservation(catalog, {await create_stocked_product(catalog, 5): 2})
        await apply_changes(catalog, released, "release")

        answers = [await request_change(catalog, each, "confirm") for each in (ReservationId.new(), released)]

        assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [
            (404, "reservation_not_found"),
            (409, "reservation_released"),
        ]


class TestRelease:
    @pytest.mark.parametrize("steps", [[], ["confirm"]])
    async def test_frees_the_stock_once(self, steps: list[str], catalog: RunningService) -> None:
        product_id = await create_stocked_product(catalog, 5)
        reservation_id = await create_reservation(catalog, {product_id: 2})
        await apply_changes(catalog, reservation_id, *steps)

        answers = [await request_change(catalog, reservation_id, "release") for _ in range(2)]

        assert [(answer.status_code, answer.content) for answer in answers] == [(204, b"")] * 2
        assert await read_ledger(catalog, product_id) == [
            ("receipt", 5, 5, 0),
            ("reservation", 2, 5, 2),
            ("release", -2, 5, 0),
        ]
        await assert_no_mismatches(catalog)

    async def test_before_the_reservation_prevents_it(self, catalog: RunningService) -> None:
        product_id = await create_stocked_product(catalog, 5)
        reservation_id = ReservationId.new()
        await apply_changes(catalog, reservation_id, "release", "release")

        late = await reserve(catalog, {product_id: 1}, reservation_id=reservation_id)

        assert (late.status_code, late.json()["code"]) == (409, "reservation_released")
        assert await read_level(catalog, product_id) == (5, 0, 5)

    async def test_rejects_a_shipped_reservation(self, catalog: RunningService) -> None:
        reservation_id = await create_reservation(catalog, {await create_stocked_product(catalog, 5): 2})
        await apply_changes(catalog, reservation_id, "confirm", "ship")

        answer = await request_change(catalog, reservation_id, "release")

        assert (answer.status_code, answer.json()["code"]) == (409, "reservation_shipped")


class TestShip:
    async def test_removes_the_quantity_from_stock_once(self, catalog: RunningService) -> None:
        product_id = await create_stocked_product(catalog, 5)
        reservation_id = await create_reservation(catalog, {product_id: 2})
        await apply_changes(catalog, reservation_id, "confirm", "ship", "ship", "confirm")

        again = await reserve(catalog, {product_id: 2}, reservation_id=reservation_id)

        assert (again.status_code, again.json()["status"]) == (200, "shipped")
        assert await read_level(catalog, product_id) == (3, 0, 3)
        assert (await read_ledger(catalog, product_id))[-1] == ("shipment", -2, 3, 0)
        await assert_no_mismatches(catalog)

    async def test_requires_a_confirmed_reservation(self, catalog: RunningService) -> None:
        product_id = await create_stocked_product(catalog, 5)
        reserved, released = (
            await create_reservation(catalog, {product_id: 1}),
            await create_reservation(catalog, {product_id: 1}),
        )
        await apply_changes(catalog, released, "release")

        answers = [await request_change(catalog, each, "ship") for each in (reserved, released, ReservationId.new())]

        assert [answer.json()["code"] for answer in answers] == [
            "reservation_not_confirmed",
            "reservation_released",
            "reservation_not_found",
        ]


class TestReturn:
    async def test_adds_the_quantity_back_once(self, catalog: RunningService) -> None:
        product_id = await create_stocked_product(catalog, 5)
        reservation_id = await create_reservation(catalog, {product_id: 2})
        await apply_changes(catalog, reservation_id, "confirm", "ship", "return", "return")

        assert await read_level(catalog, product_id) == (5, 0, 5)
        assert (await read_ledger(catalog, product_id))[-1] == ("return", 2, 5, 0)
        await assert_no_mismatches(catalog)

    async def test_requires_a_shipped_reservation(self, embedded: RunningService) -> None:
        reservation_id = await create_reservation(embedded, {await create_stocked_product(embedded, 5): 2})
        await apply_changes(embedded, reservation_id, "confirm")

        answer = await request_change(embedded, reservation_id, "return")

        assert (answer.status_code, answer.json()["code"]) == (409, "reservation_not_shipped")

    async def test_rejects_a_level_above_the_maximum(self, embedded: RunningService) -> None:
        product_id = await create_stocked_product(embedded, 1_000_000_000)
        reservation_id = await create_reservation(embedded, {product_id: 2})
        await apply_changes(embedded, reservation_id, "confirm", "ship")
        await adjust(embedded, product_id, 1)

        answer = await request_change(embedded, reservation_id, "return")

        assert (answer.status_code, answer.json()["code"]) == (409, "too_much_stock")
        await assert_no_mismatches(embedded)


class TestExpiry:
    async def test_releases_unconfirmed_reservations(self, catalog: RunningService) -> None:
        product_id = await create_stocked_product(catalog, 5)
        await create_reservation(catalog, {product_id: 2}, expires_in=60)
        await create_reservation(catalog, {product_id: 1}, expires_in=61)
        confirmed = await create_reservation(catalog, {product_id: 1}, expires_in=60)
        await apply_changes(catalog, confirmed, "confirm")

        await expire(catalog, after=60)

        assert await read_level(catalog, product_id) == (5, 2, 3)
        await expire(catalog, after=1)
        assert await read_level(catalog, product_id) == (5, 1, 4)
        await assert_no_mismatches(catalog)

    async def test_releases_more_reservations_than_one_batch(self, embedded: RunningService) -> None:
        product_id = await create_stocked_product(embedded, 250)
        for _ in range(250):
            await create_reservation(embedded, {product_id: 1})

        await expire(embedded)

        assert await read_level(embedded, product_id) == (250, 0, 250)

    async def test_does_not_prevent_a_confirmation_before_the_job_runs(self, embedded: RunningService) -> None:
        product_id = await create_stocked_product(embedded, 5)
        reservation_id = await create_reservation(embedded, {product_id: 5}, expires_in=60)
        embedded.clock.advance(61)

        await apply_changes(embedded, reservation_id, "confirm")
        await expire(embedded)

        assert await read_level(embedded, product_id) == (5, 5, 0)

    @pytest.mark.parametrize("renewing", ["confirm", "reserve"])
    async def test_is_renewed_if_enough_stock_is_left(self, renewing: str, catalog: RunningService) -> None:
        product_id = await create_stocked_product(catalog, 5)
        reservation_id = await create_reservation(catalog, {product_id: 3})
        await expire(catalog)

        if renewing == "confirm":
            await apply_changes(catalog, reservation_id, "confirm")
        else:
            await reserve(catalog, {product_id: 3}, reservation_id=reservation_id)

        assert await read_level(catalog, product_id) == (5, 3, 2)
        assert [entry[0] for entry in await read_ledger(catalog, product_id)] == [
            "receipt",
            "reservation",
            "release",
            "reservation",
        ]
        await assert_no_mismatches(catalog)

    async def test_is_final_if_too_little_stock_is_left(self, catalog: RunningService) -> None:
        product_id = await create_stocked_product(catalog, 5)
        reservation_id = await create_reservation(catalog, {product_id: 3})
        await expire(catalog)
        await create_reservation(catalog, {product_id: 4})

        answer = await request_change(catalog, reservation_id, "confirm")
        shipped = await request_change(catalog, reservation_id, "ship")

        assert (answer.status_code, answer.json()["code"]) == (409, "reservation_expired")
        assert answer.json()["items"] == [{"product_id": product_id, "requested": 3, "available": 1}]
        assert shipped.json()["code"] == "reservation_not_confirmed"
        await assert_no_mismatches(catalog)

    async def test_followed_by_a_release_frees_the_stock_once(self, catalog: RunningService) -> None:
        product_id = await create_stocked_product(catalog, 5)
        reservation_id = await create_reservation(catalog, {product_id: 3})
        await expire(catalog)
        await apply_changes(catalog, reservation_id, "release")

        late = await reserve(catalog, {product_id: 3}, reservation_id=reservation_id)

        assert late.json()["code"] == "reservation_released"
        assert await read_level(catalog, product_id) == (5, 0, 5)


class TestBatch:
    async def test_reserves_for_many_and_refuses_only_the_one_that_is_short(self, catalog: RunningService) -> None:
        one, other = await create_stocked_product(catalog, 3), await create_stocked_product(catalog, 1)
        ids = [ReservationId.new() for _ in range(4)]
        wanted = [{one: 1, other: 1}, {one: 1}, {other: 1}, {one: 1}]

        answer = await orders_service(catalog).post(
            "/inventory/reservations/batch",
            json=[_reserving(each, items) for each, items in zip(ids, wanted, strict=True)],
        )

        found = answer.json()
        assert [each["status"] for each in found] == [201, 201, 409, 201]
        assert found[2]["body"]["code"] == "insufficient_stock"
        assert await read_level(catalog, one) == (3, 3, 0)
        assert await read_level(catalog, other) == (1, 1, 0)
        await assert_no_mismatches(catalog)

    async def test_confirms_many_as_single_requests_do(self, catalog: RunningService) -> None:
        product_id = await create_stocked_product(catalog, 5)
        ids = [await create_reservation(catalog, {product_id: 1}) for _ in range(3)]
        await apply_changes(catalog, ids[1], "release")

        answer = await orders_service(catalog).post(
            "/inventory/reservations/confirm/batch",
            json=[{"method": "POST", "path": f"/inventory/reservations/{each}/confirm"} for each in ids],
        )

        found = answer.json()
        assert [each["status"] for each in found] == [200, 409, 200]
        assert [each["body"].get("code", each["body"]["status"]) for each in found] == [
            "confirmed",
            "reservation_released",
            "confirmed",
        ]


def _reserving(reservation_id: ReservationId, items: dict[ProductId, int]) -> dict[str, object]:
    lines = [{"product_id": product_id, "quantity": quantity} for product_id, quantity in items.items()]
    return {"method": "PUT", "path": f"/inventory/reservations/{reservation_id}", "body": {"items": lines}}
