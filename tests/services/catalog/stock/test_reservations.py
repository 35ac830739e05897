import pytest
from tests.services.catalog.goods import editor
from tests.services.catalog.stock.shelves import (
    adjust,
    assert_sound,
    change,
    changed,
    figures,
    held,
    ledger,
    reserve,
    stocked,
)

from portico.contracts.catalog import ProductId, ReservationId
from portico.services.catalog.stock.jobs import expire_reservations
from portico.testing.running_service import RunningService


async def expire(catalog: RunningService, *, after: float = 901) -> None:
    """Let a reservation's time pass, and the job look."""
    catalog.clock.advance(after)
    await expire_reservations.function(catalog.context)


class TestReserve:
    async def test_holds_all_items(self, catalog: RunningService) -> None:
        one, other = await stocked(catalog, 5), await stocked(catalog, 3)
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
        assert await figures(catalog, one) == (5, 2, 3)
        assert await figures(catalog, other) == (3, 3, 0)
        await assert_sound(catalog)

    async def test_may_be_repeated(self, catalog: RunningService) -> None:
        product_id = await stocked(catalog, 5)
        reservation_id = await held(catalog, {product_id: 2})

        again = [await reserve(catalog, {product_id: 2}, reservation_id=reservation_id) for _ in range(2)]

        assert [answer.status_code for answer in again] == [200, 200]
        assert await figures(catalog, product_id) == (5, 2, 3)

    async def test_takes_nothing_where_something_is_short(self, catalog: RunningService) -> None:
        plenty, short, shorter = [await stocked(catalog, quantity) for quantity in (5, 1, 0)]
        reservation_id = ReservationId.new()

        refused = await reserve(catalog, {plenty: 5, short: 2, shorter: 1}, reservation_id=reservation_id)

        assert (refused.status_code, refused.json()["code"]) == (409, "insufficient_stock")
        assert refused.json()["items"] == [
            {"product_id": short, "requested": 2, "available": 1},
            {"product_id": shorter, "requested": 1, "available": 0},
        ]
        assert await figures(catalog, plenty) == (5, 0, 5)
        await adjust(catalog, short, 1)
        await adjust(catalog, shorter, 1)
        await held(catalog, {plenty: 5, short: 2, shorter: 1}, reservation_id=reservation_id)

    async def test_refuses_another_thing_under_the_same_id(self, catalog: RunningService) -> None:
        product_id = await stocked(catalog, 5)
        reservation_id = await held(catalog, {product_id: 2})

        answer = await reserve(catalog, {product_id: 3}, reservation_id=reservation_id)

        assert (answer.status_code, answer.json()["code"]) == (409, "reservation_differs")
        assert await figures(catalog, product_id) == (5, 2, 3)

    async def test_refuses_what_is_not_sold(self, catalog: RunningService) -> None:
        there, deleted = await stocked(catalog, 5), await stocked(catalog, 5)
        await editor(catalog).delete(f"/products/{deleted}")

        unknown = await reserve(catalog, {there: 1, ProductId.new(): 1})
        gone = await reserve(catalog, {there: 1, deleted: 1})

        assert (unknown.status_code, unknown.json()["code"]) == (404, "product_not_found")
        assert (gone.status_code, gone.json()["items"][0]["available"]) == (409, 0)
        assert await figures(catalog, there) == (5, 0, 5)

    @pytest.mark.parametrize("quantity", [0, -1, 1_000_000_001, 2**63, 1.5, "2", None])
    async def test_refuses_quantities_that_make_no_sense(self, quantity: object, embedded: RunningService) -> None:
        product_id = await stocked(embedded, 5)

        answer = await reserve(embedded, {product_id: quantity})  # type: ignore[dict-item]

        assert answer.status_code == 422

    @pytest.mark.parametrize("seconds", [0, -1, 86_401, 10**18])
    async def test_is_bounded_in_time(self, seconds: int, embedded: RunningService) -> None:
        assert (await reserve(embedded, {await stocked(embedded, 5): 1}, expires_in=seconds)).status_code == 422

    async def test_is_for_services(self, embedded: RunningService) -> None:
        reservation_id = await held(embedded, {await stocked(embedded, 5): 1})
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
        product_id = await stocked(catalog, 5)
        reservation_id = await held(catalog, {product_id: 2})

        answers = [await change(catalog, reservation_id, "confirm") for _ in range(2)]
        await expire(catalog)

        assert [(each.status_code, each.json()["status"], each.json()["expires_at"]) for each in answers] == [
            (200, "confirmed", None)
        ] * 2
        assert await figures(catalog, product_id) == (5, 2, 3)

    async def test_needs_a_reservation_that_stands(self, catalog: RunningService) -> None:
        released = await held(catalog, {await stocked(catalog, 5): 2})
        await changed(catalog, released, "release")

        answers = [await change(catalog, each, "confirm") for each in (ReservationId.new(), released)]

        assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [
            (404, "reservation_not_found"),
            (409, "reservation_released"),
        ]


class TestRelease:
    @pytest.mark.parametrize("steps", [[], ["confirm"]])
    async def test_frees_the_stock_once(self, steps: list[str], catalog: RunningService) -> None:
        product_id = await stocked(catalog, 5)
        reservation_id = await held(catalog, {product_id: 2})
        await changed(catalog, reservation_id, *steps)

        answers = [await change(catalog, reservation_id, "release") for _ in range(2)]

        assert [(answer.status_code, answer.content) for answer in answers] == [(204, b"")] * 2
        assert await ledger(catalog, product_id) == [
            ("receipt", 5, 5, 0),
            ("reservation", 2, 5, 2),
            ("release", -2, 5, 0),
        ]
        await assert_sound(catalog)

    async def test_that_comes_first_wins(self, catalog: RunningService) -> None:
        product_id = await stocked(catalog, 5)
        reservation_id = ReservationId.new()
        await changed(catalog, reservation_id, "release", "release")

        late = await reserve(catalog, {product_id: 1}, reservation_id=reservation_id)

        assert (late.status_code, late.json()["code"]) == (409, "reservation_released")
        assert await figures(catalog, product_id) == (5, 0, 5)

    async def test_of_what_was_shipped_is_refused(self, catalog: RunningService) -> None:
        reservation_id = await held(catalog, {await stocked(catalog, 5): 2})
        await changed(catalog, reservation_id, "confirm", "ship")

        answer = await change(catalog, reservation_id, "release")

        assert (answer.status_code, answer.json()["code"]) == (409, "reservation_shipped")


class TestShip:
    async def test_takes_it_out_of_stock_once(self, catalog: RunningService) -> None:
        product_id = await stocked(catalog, 5)
        reservation_id = await held(catalog, {product_id: 2})
        await changed(catalog, reservation_id, "confirm", "ship", "ship", "confirm")

        again = await reserve(catalog, {product_id: 2}, reservation_id=reservation_id)

        assert (again.status_code, again.json()["status"]) == (200, "shipped")
        assert await figures(catalog, product_id) == (3, 0, 3)
        assert (await ledger(catalog, product_id))[-1] == ("shipment", -2, 3, 0)
        await assert_sound(catalog)

    async def test_needs_a_confirmed_one(self, catalog: RunningService) -> None:
        product_id = await stocked(catalog, 5)
        reserved, released = await held(catalog, {product_id: 1}), await held(catalog, {product_id: 1})
        await changed(catalog, released, "release")

        answers = [await change(catalog, each, "ship") for each in (reserved, released, ReservationId.new())]

        assert [answer.json()["code"] for answer in answers] == [
            "reservation_not_confirmed",
            "reservation_released",
            "reservation_not_found",
        ]


class TestReturn:
    async def test_puts_it_back_once(self, catalog: RunningService) -> None:
        product_id = await stocked(catalog, 5)
        reservation_id = await held(catalog, {product_id: 2})
        await changed(catalog, reservation_id, "confirm", "ship", "return", "return")

        assert await figures(catalog, product_id) == (5, 0, 5)
        assert (await ledger(catalog, product_id))[-1] == ("return", 2, 5, 0)
        await assert_sound(catalog)

    async def test_needs_a_shipped_one(self, embedded: RunningService) -> None:
        reservation_id = await held(embedded, {await stocked(embedded, 5): 2})
        await changed(embedded, reservation_id, "confirm")

        answer = await change(embedded, reservation_id, "return")

        assert (answer.status_code, answer.json()["code"]) == (409, "reservation_not_shipped")

    async def test_stops_where_counting_ends(self, embedded: RunningService) -> None:
        product_id = await stocked(embedded, 1_000_000_000)
        reservation_id = await held(embedded, {product_id: 2})
        await changed(embedded, reservation_id, "confirm", "ship")
        await adjust(embedded, product_id, 1)

        answer = await change(embedded, reservation_id, "return")

        assert (answer.status_code, answer.json()["code"]) == (409, "too_much_stock")
        await assert_sound(embedded)


class TestExpiry:
    async def test_frees_what_nobody_confirmed_in_time(self, catalog: RunningService) -> None:
        product_id = await stocked(catalog, 5)
        await held(catalog, {product_id: 2}, expires_in=60)
        await held(catalog, {product_id: 1}, expires_in=61)
        confirmed = await held(catalog, {product_id: 1}, expires_in=60)
        await changed(catalog, confirmed, "confirm")

        await expire(catalog, after=60)

        assert await figures(catalog, product_id) == (5, 2, 3)
        await expire(catalog, after=1)
        assert await figures(catalog, product_id) == (5, 1, 4)
        await assert_sound(catalog)

    async def test_frees_any_number(self, embedded: RunningService) -> None:
        product_id = await stocked(embedded, 250)
        for _ in range(250):
            await held(embedded, {product_id: 1})

        await expire(embedded)

        assert await figures(embedded, product_id) == (250, 0, 250)

    async def test_that_was_not_noticed_yet_does_not_hinder(self, embedded: RunningService) -> None:
        product_id = await stocked(embedded, 5)
        reservation_id = await held(embedded, {product_id: 5}, expires_in=60)
        embedded.clock.advance(61)

        await changed(embedded, reservation_id, "confirm")
        await expire(embedded)

        assert await figures(embedded, product_id) == (5, 5, 0)

    @pytest.mark.parametrize("renewing", ["confirm", "reserve"])
    async def test_is_undone_where_there_is_still_enough(self, renewing: str, catalog: RunningService) -> None:
        product_id = await stocked(catalog, 5)
        reservation_id = await held(catalog, {product_id: 3})
        await expire(catalog)

        if renewing == "confirm":
            await changed(catalog, reservation_id, "confirm")
        else:
            await reserve(catalog, {product_id: 3}, reservation_id=reservation_id)

        assert await figures(catalog, product_id) == (5, 3, 2)
        assert [entry[0] for entry in await ledger(catalog, product_id)] == [
            "receipt",
            "reservation",
            "release",
            "reservation",
        ]
        await assert_sound(catalog)

    async def test_is_told_where_too_little_is_left(self, catalog: RunningService) -> None:
        product_id = await stocked(catalog, 5)
        reservation_id = await held(catalog, {product_id: 3})
        await expire(catalog)
        await held(catalog, {product_id: 4})

        answer = await change(catalog, reservation_id, "confirm")
        shipped = await change(catalog, reservation_id, "ship")

        assert (answer.status_code, answer.json()["code"]) == (409, "reservation_expired")
        assert answer.json()["items"] == [{"product_id": product_id, "requested": 3, "available": 1}]
        assert shipped.json()["code"] == "reservation_not_confirmed"
        await assert_sound(catalog)

    async def test_and_release_free_it_once(self, catalog: RunningService) -> None:
        product_id = await stocked(catalog, 5)
        reservation_id = await held(catalog, {product_id: 3})
        await expire(catalog)
        await changed(catalog, reservation_id, "release")

        late = await reserve(catalog, {product_id: 3}, reservation_id=reservation_id)

        assert late.json()["code"] == "reservation_released"
        assert await figures(catalog, product_id) == (5, 0, 5)
