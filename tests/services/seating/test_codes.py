import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from tests.services.seating.support import SeatingService

from portico.contracts.events import SectionPlan, ShowId
from portico.kit import UserId
from portico.testing.running_service import Answer

FRONT = SectionPlan(name="Front", rows=2, seats_per_row=6, price=9.99)


async def create(seating: SeatingService, show_id: ShowId, **members: Any) -> Answer:
    staff = seating.run.as_user("inventory:write")
    body = {"code": "Friends", "kind": "DISCOUNT", "percent_off": 15, **members}
    return await staff.post(f"/inventory/{show_id}/codes", json=body)


async def given_code(seating: SeatingService, show_id: ShowId, **members: Any) -> None:
    answer = await create(seating, show_id, **members)
    assert answer.status_code == 201, answer.content


async def used_seats(seating: SeatingService, show_id: ShowId) -> int:
    answer = await seating.run.as_user("inventory:write").get(f"/inventory/{show_id}/codes")
    used: int = answer.json()["codes"][0]["used_seats"]
    return used


class TestCodes:
    async def test_are_created_listed_and_deleted(self, seating: SeatingService) -> None:
        show_id = await seating.show()
        staff, path = seating.run.as_user("inventory:write"), f"/inventory/{show_id}/codes"

        created = await create(seating, show_id, max_seats=10)
        taken = await create(seating, show_id, code="FRIENDS")
        listed = await staff.get(path)
        deleted = [await staff.delete(f"{path}/friends") for _ in range(2)]

        now = seating.run.clock.now().isoformat().replace("+00:00", "Z")
        assert created.json() == {
            "code": "Friends",
            "kind": "DISCOUNT",
            "percent_off": 15,
            "amount_off": None,
            "max_seats": 10,
            "used_seats": 0,
            "valid_from": None,
            "valid_until": None,
            "created_at": now,
        }
        assert (taken.status_code, taken.json()["code"]) == (409, "code_taken")
        assert listed.json()["codes"] == [created.json()]
        assert [answer.status_code for answer in deleted] == [204, 404]

    @pytest.mark.parametrize(
        "members",
        [
            {"percent_off": None},
            {"amount_off": 1},
            {"percent_off": 101},
            {"percent_off": None, "amount_off": 0.001},
            {"kind": "PRESALE"},
            {"code": "with space"},
            {"valid_from": "2026-01-02T00:00:00Z", "valid_until": "2026-01-01T00:00:00Z"},
        ],
    )
    async def test_must_make_sense(self, embedded: SeatingService, members: dict[str, Any]) -> None:
        assert (await create(embedded, await embedded.show(), **members)).status_code == 422

    async def test_need_a_permission_and_a_show(self, embedded: SeatingService) -> None:
        attendee = await embedded.run.as_user().get(f"/inventory/{await embedded.show()}/codes")

        assert attendee.status_code == 403
        assert (await create(embedded, ShowId.new())).json()["code"] == "event_not_found"


class TestDiscounts:
    async def test_are_per_seat_half_up(self, seating: SeatingService) -> None:
        show_id = await seating.show((FRONT,))
        await given_code(seating, show_id)

        hold = await seating.given_hold(show_id, 3, code="fRIENDS")

        assert {each["price"] for each in hold["seats"]} == {8.49}
        assert (hold["amount"], hold["discount"]) == (25.47, 4.5)

    async def test_never_exceed_the_price(self, embedded: SeatingService) -> None:
        show_id = await embedded.show((FRONT,))
        await given_code(embedded, show_id, percent_off=None, amount_off=50)

        hold = await embedded.given_hold(show_id, 1, code="friends")

        assert (hold["amount"], hold["discount"]) == (0.0, 9.99)

    async def test_seats_return_to_the_code_with_the_hold(self, seating: SeatingService) -> None:
        show_id = await seating.show((FRONT,))
        await given_code(seating, show_id, max_seats=4)
        user = UserId.new()
        released = await seating.given_hold(show_id, 2, code="friends", user=user)
        await seating.given_hold(show_id, 2, code="friends", user=user)
        sold = await seating.given_hold(show_id, seats=["1-B-1"])
        exhausted = await seating.hold(show_id, 1, code="friends")
        used = [await used_seats(seating, show_id)]
        await seating.run.as_user(subject=user).delete(f"/inventory/{show_id}/holds/{released['hold_id']}")
        used.append(await used_seats(seating, show_id))
        sold = await seating.given_hold(show_id, seats=["1-B-3", "1-B-4"], code="friends")
        await seating.sell(sold)
        await seating.put(sold, "return", key="one", places=[{"seat_id": "1-B-3"}])
        used.append(await used_seats(seating, show_id))
        seating.run.clock.advance(600)
        await seating.end_due_holds()
        used.append(await used_seats(seating, show_id))

        assert (exhausted.status_code, exhausted.json()["code"]) == (409, "code_exhausted")
        assert exhausted.json()["remaining"] == 0
        assert used == [4, 2, 3, 1]

    async def test_concurrent_holds_use_no_more_seats_than_the_code_has(self, seating: SeatingService) -> None:
        show_id = await seating.show((FRONT,))
        await given_code(seating, show_id, max_seats=5)

        answers = await asyncio.gather(*(seating.hold(show_id, 1, code="friends") for _ in range(10)))

        assert Counter(answer.status_code for answer in answers) == {201: 5, 409: 5}


class TestValidity:
    async def test_outside_its_time_a_code_is_refused(self, embedded: SeatingService) -> None:
        show_id = await embedded.show((FRONT,))
        now = embedded.run.clock.now()
        await given_code(
            embedded,
            show_id,
            valid_from=(now + timedelta(seconds=10)).isoformat(),
            valid_until=(now + timedelta(seconds=20)).isoformat(),
        )

        statuses = []
        for _ in range(3):
            statuses.append((await embedded.hold(show_id, 1, code="friends")).json().get("code"))
            embedded.run.clock.advance(10)

        assert statuses == ["code_not_valid_now", None, "code_not_valid_now"]

    async def test_a_presale_opens_holds_before_the_sale(self, embedded: SeatingService) -> None:
        now = embedded.run.clock.now()
        show_id = await embedded.show((FRONT,), status="UPCOMING", sale_start_time=now + timedelta(hours=2))
        await given_code(
            embedded,
            show_id,
            code="fan",
            kind="PRESALE",
            percent_off=None,
            valid_from=(now + timedelta(hours=1)).isoformat(),
        )

        early = await embedded.hold(show_id, 1, code="fan")
        embedded.run.clock.advance(3600)
        presale = await embedded.hold(show_id, 1, code="fan")
        without = await embedded.hold(show_id, 1)

        assert early.json()["code"] == "code_not_valid_now"
        assert presale.status_code == 201
        assert without.json()["code"] == "sale_closed"

    async def test_unknown_codes_can_be_tried_ten_times_a_minute(self, embedded: SeatingService) -> None:
        show_id = await embedded.show((FRONT,))
        user = UserId.new()

        answers = [await embedded.hold(show_id, 1, code=f"guess{number}", user=user) for number in range(11)]
        other = await embedded.hold(show_id, 1, code="guess")
        embedded.run.clock.advance(60)
        later = await embedded.hold(show_id, 1, code="guess", user=user)

        assert [answer.status_code for answer in answers] == [422] * 10 + [429]
        assert answers[0].json()["code"] == other.json()["code"] == later.json()["code"] == "code_unknown"
        assert int(answers[10].headers["retry-after"]) == 60
