"""The rows of inventory in the ticketing system, through its gateway: places, holds, codes, house seats, waiting list."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.journeys.box_office import RunningBoxOffice, eventually_equal
from tests.journeys.rows import is_paged, refused, refuses_bodies, walked

HOLD_FIELDS = {
    "holdId", "eventId", "userId", "status", "quantity", "seats", "adjacent", "amount", "discount", "currency",
    "expiresAt", "createdAt",
}  # fmt: skip
MIXED = {
    "totalSeats": 17,
    "sections": [
        {"name": "Stalls", "rows": 2, "seatsPerRow": 6, "price": 80, "accessible": ["B-1"]},
        {"name": "Floor", "capacity": 5},
    ],
}


def moment(**spans: float) -> str:
    return (datetime.now(UTC) + timedelta(**spans)).isoformat().replace("+00:00", "Z")


async def row_of(office: RunningBoxOffice, show_id: int) -> str:
    """Return the states of the first row."""
    found = await office.anonymous.get(f"/api/inventory/{show_id}/seats")
    return str(found["sections"][0]["rows"][0]["states"])


async def one_row(office: RunningBoxOffice, seats: int, **changed: Any) -> int:
    """Create a show with one row."""
    sections = [{"name": "Row", "rows": 1, "seatsPerRow": seats}]
    return await office.create_show(totalSeats=seats, sections=sections, **changed)


class TestPlaces:
    async def test_counts_add_up_and_the_map_has_a_letter_for_each_seat(self, office: RunningBoxOffice) -> None:
        show_id = await office.create_show(**MIXED)
        path = f"/api/inventory/{show_id}"
        (await office.ann.take_hold(show_id, {"seats": ["1-A-1"]})).expect(201)
        (await office.ann.take_hold(show_id, {"quantity": 2, "section": "Floor"})).expect(201)
        (await office.organizer.request("PUT", f"{path}/blocks", {"seats": ["1-A-6"], "blocked": True})).expect(200)

        found = await office.anonymous.get(path)
        seats = await office.anonymous.request("GET", f"{path}/seats")
        unchanged = {"if-none-match": seats.headers["etag"]}

        counts = {"available": 13, "held": 3, "sold": 0, "blocked": 1}
        stalls = {"section": "Stalls", "price": 80, "currency": "USD", "total": 12}
        floor = {"section": "Floor", "price": 49.5, "currency": "USD", "total": 5}
        assert found == {
            "eventId": show_id,
            "totalSeats": 17,
            **counts,
            "sections": [
                {**stalls, "available": 10, "held": 1, "sold": 0, "blocked": 1},
                {**floor, "available": 3, "held": 2, "sold": 0, "blocked": 0},
            ],
        }
        body = seats.expect(200).json()
        rows = [{"row": "A", "states": "HFFFFB"}, {"row": "B", "states": "FFFFFF"}]
        seated = {
            "section": "Stalls",
            "number": 1,
            "price": 80,
            "currency": "USD",
            "rows": rows,
            "accessible": ["B-1"],
        }
        standing = {"section": "Floor", "number": 2, "price": 49.5, "currency": "USD", "capacity": 5, "available": 3}
        assert body.keys() == {"eventId", "version", "sections"}
        assert body["sections"] == [seated, {**standing, "accessible": []}]
        assert (await office.anonymous.request("GET", f"{path}/seats", headers=unchanged)).status == 304

    async def test_the_changes_since_a_version_have_no_tag(self, office: RunningBoxOffice) -> None:
        show_id = await office.create_show(**MIXED)
        path = f"/api/inventory/{show_id}/seats"
        version = (await office.anonymous.get(path))["version"]
        (await office.ann.take_hold(show_id, {"seats": ["1-A-2"]})).expect(201)
        (await office.ann.take_hold(show_id, {"quantity": 1, "section": "Floor"})).expect(201)

        changes = (await office.anonymous.request("GET", f"{path}?since={version}")).expect(200)

        assert changes.json() == {
            "version": version + 2,
            "changes": [["1-A-2", "H"]],
            "standing": [{"section": "Floor", "available": 4}],
        }
        assert "etag" not in changes.headers


class TestHolds:
    async def test_best_places_are_held_listed_read_and_released(self, office: RunningBoxOffice) -> None:
        show_id = await office.create_show(**MIXED)
        path = f"/api/inventory/{show_id}/holds"

        made = (await office.ann.take_hold(show_id, {"quantity": 2})).expect(201)
        standing = (await office.ann.take_hold(show_id, {"quantity": 2, "section": "Floor"})).expect(201).json()

        hold = made.json()
        assert hold.keys() == HOLD_FIELDS
        assert made.headers["location"] == f"{path}/{hold['holdId']}"
        assert (hold["status"], hold["quantity"], hold["adjacent"]) == ("ACTIVE", 2, True)
        assert hold["seats"] == [
            {"seatId": f"1-A-{each}", "section": "Stalls", "row": "A", "number": each, "price": 80} for each in (3, 4)
        ]
        assert (hold["amount"], hold["discount"], hold["currency"]) == (160, 0, "USD")
        lasting = datetime.fromisoformat(hold["expiresAt"]) - datetime.fromisoformat(hold["createdAt"])
        assert lasting == timedelta(minutes=10)
        assert (standing["seats"], standing["amount"]) == ([], 99)
        assert await walked(office.ann, path, "holds") == [standing, hold]
        assert await walked(office.bob, path, "holds") == []
        await is_paged(office.ann, path, "holds")
        mine = f"{path}/{hold['holdId']}"
        assert await office.ann.get(mine) == hold
        for method in ("GET", "DELETE"):
            refused(await office.bob.request(method, mine), 404, "hold_not_found")
        assert [(await office.ann.request("DELETE", mine)).status for _ in range(2)] == [204, 204]
        assert (await office.ann.get(mine))["status"] == "RELEASED"

    async def test_bad_wishes_are_refused_and_hold_nothing(self, office: RunningBoxOffice) -> None:
        show_id = await office.create_show(**MIXED)
        path = f"/api/inventory/{show_id}/holds"
        take = office.ann.take_hold

        await refuses_bodies(
            office.ann,
            path,
            [
                *({"quantity": each} for each in (0, -1, 10**12, 1.5, "two")),
                {"quantity": 1, "seats": ["1-A-1"]},
                {},
                {"seats": ["1-A-1", "1-A-1"]},
                {"quantity": 1, "colour": "red"},
            ],
        )
        refused(await take(show_id, {"seats": ["1-A-1", "1-Z-99"]}), 422, "unknown_seat", seats=["1-Z-99"])
        refused(await take(show_id, {"quantity": 1, "section": "Moon"}), 422, "unknown_section")
        refused(await take(show_id, {"seats": ["1-B-1"]}), 409, "accessible_only")
        refused(await take(1, {"quantity": 1}), 404, "event_not_found")
        (await take(show_id, {"seats": ["1-A-1"]})).expect(201)
        refused(await office.bob.take_hold(show_id, {"seats": ["1-A-2", "1-A-1"]}), 409, "seat_taken", seats=["1-A-1"])
        refused(await take(show_id, {"quantity": 8}), 409, "seat_limit_reached", limit=8, held=1, booked=0)
        assert (await office.counts(show_id))["held"] == 1

    async def test_more_than_are_free_or_side_by_side(self, office: RunningBoxOffice) -> None:
        show_id = await one_row(office, 6, maxSeatsPerUser=20)
        take = office.ann.take_hold
        (await take(show_id, {"seats": ["1-A-3"]})).expect(201)

        refused(await take(show_id, {"quantity": 6}), 409, "not_enough_seats", requested=6, available=5)
        refused(await take(show_id, {"quantity": 4, "together": True}), 409, "no_adjacent_seats", largestBlock=3)
        pieces = (await take(show_id, {"quantity": 4})).expect(201, adjacent=False).json()
        assert len(pieces["seats"]) == 4

    async def test_a_choice_that_leaves_a_single_seat(self, office: RunningBoxOffice) -> None:
        allowing, refusing = await one_row(office, 6), await one_row(office, 6, orphanRule="REFUSE")
        wanted = {"seats": ["1-A-2", "1-A-3"]}

        (await office.ann.take_hold(allowing, wanted)).expect(201)
        refused(await office.ann.take_hold(refusing, wanted), 409, "leaves_single_seat", seats=["1-A-1"])

    async def test_an_accessible_seat_with_the_rest_beside_it(self, office: RunningBoxOffice) -> None:
        show_id = await office.create_show(**MIXED)

        hold = (await office.ann.take_hold(show_id, {"quantity": 2, "accessible": True})).expect(201).json()

        assert [each["seatId"] for each in hold["seats"]] == ["1-B-1", "1-B-2"]

    async def test_a_user_keeps_the_limit_over_concurrent_calls(self, office: RunningBoxOffice) -> None:
        show_id = await one_row(office, 12, maxSeatsPerUser=4)

        answers = await asyncio.gather(*(office.ann.take_hold(show_id, {"quantity": 1}) for _ in range(8)))

        assert sorted(each.status for each in answers) == [201] * 4 + [409] * 4
        assert (await office.counts(show_id))["held"] == 4

    async def test_only_while_the_sale_is_open(self, office: RunningBoxOffice) -> None:
        opens, closes = moment(days=1), moment(days=2)
        window = {"saleStartTime": opens, "saleEndTime": closes}
        early = await office.create_show(**window)
        over = await office.create_show(saleEndTime=moment(hours=-1))
        upcoming = await office.create_show(status="UPCOMING")
        sold_out = await office.create_show()
        cancelled = await office.create_show()
        for show_id, status in ((sold_out, "SOLD_OUT"), (cancelled, "CANCELLED")):
            path = f"/api/events/{show_id}/status"
            (await office.organizer.request("PUT", path, {"status": status})).expect(200)

        async def refusal(show_id: int) -> tuple[str | None, str | None]:
            problem = (await office.ann.take_hold(show_id, {"quantity": 1})).json()
            return problem.get("code"), problem.get("eventStatus")  # a hold, until the change has arrived

        problem = refused(await office.ann.take_hold(early, {"quantity": 1}), 409, "sale_closed")
        assert (problem["eventStatus"], problem["opensAt"], problem["closesAt"]) == ("ON_SALE", opens, closes)
        assert await refusal(over) == ("sale_closed", "ON_SALE")
        assert await refusal(upcoming) == ("sale_closed", "UPCOMING")
        await eventually_equal(lambda: refusal(sold_out), ("sold_out", None))
        await eventually_equal(lambda: refusal(cancelled), ("sale_closed", "CANCELLED"))


class TestHouseSeats:
    async def test_are_blocked_all_or_none_with_their_history(self, office: RunningBoxOffice) -> None:
        show_id = await one_row(office, 6)
        path = f"/api/inventory/{show_id}"
        hold = (await office.ann.take_hold(show_id, {"seats": ["1-A-1"]})).expect(201).json()
        put = office.organizer.request

        both = await put("PUT", f"{path}/blocks", {"seats": ["1-A-1", "1-A-2"], "blocked": True})
        states = await row_of(office, show_id)
        one = await put("PUT", f"{path}/blocks", {"seats": ["1-A-2"], "blocked": True})

        refused(both, 409, "seat_taken", seats=["1-A-1"])
        assert states == "HFFFFF"
        assert one.expect(200).json() == {"eventId": show_id, "seats": ["1-A-2"], "blocked": True}
        refused(await office.ann.take_hold(show_id, {"seats": ["1-A-2"]}), 409, "seat_taken")
        refused(await put("PUT", f"{path}/blocks", {"seats": ["9-A-1"], "blocked": True}), 422, "unknown_seat")
        (await put("PUT", f"{path}/blocks", {"seats": ["1-A-2"], "blocked": False})).expect(200)
        assert await row_of(office, show_id) == "HFFFFF"
        history = await office.organizer.get(f"{path}/seats/1-A-1/history")
        (change,) = history["changes"]
        assert (change["state"], change["reason"]) == ("H", "held")
        assert (change["holdId"], change["userId"]) == (hold["holdId"], office.ann.user_id)
        refused(await put("GET", f"{path}/seats/1-Q-1/history"), 404, "seat_not_found")
        assert (await office.organizer.get(f"{path}/reconcile"))["mismatches"] == []


class TestCodes:
    async def test_a_discount_is_per_seat_and_ends_with_its_seats(self, office: RunningBoxOffice) -> None:
        show_id = await one_row(office, 8, price=9.99)
        path = f"/api/inventory/{show_id}/codes"
        draft = {"code": "Half", "kind": "DISCOUNT", "percentOff": 50, "maxSeats": 3}

        made = (await office.organizer.request("POST", path, draft)).expect(201)
        hold = (await office.ann.take_hold(show_id, {"quantity": 2, "code": "hALF"})).expect(201).json()
        full = await office.bob.take_hold(show_id, {"quantity": 2, "code": "HALF"})
        used = (await office.organizer.get(path))["codes"][0]["usedSeats"]
        await office.ann.request("DELETE", f"/api/inventory/{show_id}/holds/{hold['holdId']}")
        again = await office.bob.take_hold(show_id, {"quantity": 2, "code": "HALF"})

        assert {**draft, "amountOff": None, "validFrom": None, "validUntil": None}.items() <= made.json().items()
        # 9.99 less 5.00 (half of it, rounded half up)
        assert (hold["amount"], hold["discount"], [each["price"] for each in hold["seats"]]) == (9.98, 10, [4.99, 4.99])
        refused(full, 409, "code_exhausted", remaining=1)
        assert used == 2
        again.expect(201)
        refused(await office.organizer.request("POST", path, {**draft, "code": "HALF"}), 409, "code_taken")
        await is_paged(office.organizer, path, "codes")
        assert (await office.organizer.request("DELETE", f"{path}/half")).status == 204
        refused(await office.organizer.request("DELETE", f"{path}/half"), 404, "code_not_found")

    async def test_wrong_codes(self, office: RunningBoxOffice) -> None:
        show_id = await one_row(office, 8)
        path = f"/api/inventory/{show_id}/codes"
        late = {"code": "LATE", "kind": "DISCOUNT", "amountOff": 100, "validUntil": moment(hours=-1)}
        (await office.organizer.request("POST", path, late)).expect(201)
        guesser = await office.account("guesser")

        refused(await office.ann.take_hold(show_id, {"quantity": 1, "code": "late"}), 409, "code_not_valid_now")
        guesses = [
            await guesser.request("POST", f"/api/inventory/{show_id}/holds", {"quantity": 1, "code": f"X{each}"})
            for each in range(11)
        ]

        for each in guesses[:10]:
            refused(each, 422, "code_unknown")
        assert guesses[10].status == 429
        assert "retry-after" in guesses[10].headers
        bad = ({"kind": "GIFT"}, {"kind": "DISCOUNT"}, {"kind": "DISCOUNT", "percentOff": 101}, {"kind": "PRESALE"})
        await refuses_bodies(office.organizer, path, [{"code": "BAD", **each} for each in bad])

    async def test_a_presale_opens_holds_before_the_sale(self, office: RunningBoxOffice) -> None:
        show_id = await one_row(office, 8, status="UPCOMING", saleStartTime=moment(days=1))
        path = f"/api/inventory/{show_id}/codes"
        now, soon = ({"kind": "PRESALE", "validFrom": moment(hours=each)} for each in (-1, 1))
        (await office.organizer.request("POST", path, {"code": "FAN", **now})).expect(201)
        (await office.organizer.request("POST", path, {"code": "SOON", **soon})).expect(201)

        refused(await office.ann.take_hold(show_id, {"quantity": 1}), 409, "sale_closed")
        refused(await office.ann.take_hold(show_id, {"quantity": 1, "code": "SOON"}), 409, "code_not_valid_now")
        (await office.ann.take_hold(show_id, {"quantity": 1, "code": "fan"})).expect(201, discount=0)
