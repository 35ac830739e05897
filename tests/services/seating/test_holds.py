import asyncio
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from tests.services.seating.support import BALCONY, FLOOR, SeatingService, assert_consistent, open_seating

from portico.contracts.events import SectionPlan, ShowId, ShowStatusChanged
from portico.contracts.seating import HoldId, SeatsHeld, SeatsReleased
from portico.kit import UserId
from portico.services.seating.holds.expiry import HoldExpiry
from portico.testing.databases import Databases

FRONT = SectionPlan(name="Front", rows=2, seats_per_row=6, price=Decimal("12.5"))


class TestTaking:
    async def test_best_available_seats(self, seating: SeatingService) -> None:
        show_id = await seating.show()
        user = UserId.new()

        answer = await seating.hold(show_id, 2, user=user)

        hold = answer.json()
        now = seating.run.clock.now()
        assert answer.status_code == 201
        assert answer.headers["location"] == f"/inventory/{show_id}/holds/{hold['hold_id']}"
        assert hold == {
            "hold_id": hold["hold_id"],
            "event_id": show_id,
            "user_id": user,
            "status": "ACTIVE",
            "quantity": 2,
            "seats": [
                {"seat_id": f"1-A-{number}", "section": "Stalls", "row": "A", "number": number, "price": 80.0}
                for number in (hold["seats"][0]["number"], hold["seats"][0]["number"] + 1)
            ],
            "adjacent": True,
            "amount": 160.0,
            "discount": 0.0,
            "currency": "USD",
            "expires_at": (now + timedelta(minutes=10)).isoformat().replace("+00:00", "Z"),
            "created_at": now.isoformat().replace("+00:00", "Z"),
        }
        assert await seating.counts(show_id) == (22, 2, 0, 0)
        assert "".join(await seating.rows(show_id)).count("H") == 2
        await assert_consistent(seating, show_id)

    async def test_chosen_seats(self, seating: SeatingService) -> None:
        show_id = await seating.show((FRONT,))

        hold = await seating.given_hold(show_id, seats=["1-B-6", "1-A-2"])

        assert [each["seat_id"] for each in hold["seats"]] == ["1-A-2", "1-B-6"]
        assert (hold["adjacent"], hold["amount"]) == (False, 25.0)
        assert await seating.rows(show_id) == ["FHFFFF", "FFFFFH"]

    async def test_standing_places(self, seating: SeatingService) -> None:
        show_id = await seating.show()

        hold = await seating.given_hold(show_id, 3, section="Floor")

        assert (hold["seats"], hold["quantity"], hold["amount"], hold["adjacent"]) == ([], 3, 148.5, True)
        floor = (await seating.seat_map(show_id))["sections"][2]
        assert (floor["capacity"], floor["available"]) == (10, 7)
        await assert_consistent(seating, show_id)

    async def test_publishes_seats_held(self, embedded: SeatingService) -> None:
        show_id = await embedded.show((FRONT,))

        hold = await embedded.given_hold(show_id, seats=["1-A-1"])

        [event] = await embedded.run.published()
        assert event == SeatsHeld(
            event_id=show_id, hold_id=hold["hold_id"], user_id=hold["user_id"], quantity=1, seats=("1-A-1",)
        ).with_message_id(event.message_id)

    async def test_a_repeat_with_its_key_takes_no_further_places(self, seating: SeatingService) -> None:
        show_id = await seating.show()
        caller, path = seating.run.as_user(), f"/inventory/{show_id}/holds"
        key = {"idempotency-key": "one"}

        first = await caller.post(path, json={"quantity": 2}, headers=key)
        again = await caller.post(path, json={"quantity": 2}, headers=key)
        other = await caller.post(path, json={"quantity": 3}, headers=key)

        assert again.content == first.content
        assert other.json()["code"] == "idempotency_key_reused"
        assert await seating.counts(show_id) == (22, 2, 0, 0)

    async def test_in_an_accessible_seat_only_if_it_is_asked_for(self, embedded: SeatingService) -> None:
        show_id = await embedded.show()

        refused = await embedded.hold(show_id, seats=["1-A-1"])
        hold = await embedded.given_hold(show_id, 2, accessible=True)

        assert (refused.status_code, refused.json()["code"]) == (409, "accessible_only")
        assert [each["seat_id"] for each in hold["seats"]] == ["1-A-1", "1-A-2"]


class TestRefusals:
    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"quantity": 0},
            {"quantity": -1},
            {"quantity": 10**12},
            {"quantity": 1, "seats": ["1-A-1"]},
            {"seats": []},
            {"seats": ["1-A-1", "1-A-1"]},
            {"seats": ["1-A-1"], "together": True},
            {"quantity": 1, "colour": "red"},
        ],
    )
    async def test_of_bad_input(self, embedded: SeatingService, body: dict[str, Any]) -> None:
        show_id = await embedded.show()

        assert (await embedded.hold(show_id, **body)).status_code == 422

    @pytest.mark.parametrize("seat", ["1-A-7", "9-A-1", "1-AA-1", "A-1", "x", "1-A-01"])
    async def test_of_a_seat_that_does_not_exist(self, embedded: SeatingService, seat: str) -> None:
        show_id = await embedded.show((FRONT,))

        answer = await embedded.hold(show_id, seats=["1-A-1", seat])

        assert (answer.status_code, answer.json()["code"], answer.json()["seats"]) == (422, "unknown_seat", [seat])

    async def test_of_an_unknown_section_and_show(self, embedded: SeatingService) -> None:
        show_id = await embedded.show()

        section = await embedded.hold(show_id, 1, section="Roof")
        show = await embedded.hold(ShowId.new(), 1)

        assert (section.status_code, section.json()["code"]) == (422, "unknown_section")
        assert (show.status_code, show.json()["code"]) == (404, "event_not_found")

    async def test_of_one_taken_seat_among_several_hold_none(self, seating: SeatingService) -> None:
        show_id = await seating.show((FRONT,))
        await seating.given_hold(show_id, seats=["1-A-2"])

        answer = await seating.hold(show_id, seats=["1-A-1", "1-A-2", "1-A-3"])

        assert (answer.status_code, answer.json()["code"], answer.json()["seats"]) == (409, "seat_taken", ["1-A-2"])
        assert await seating.counts(show_id) == (11, 1, 0, 0)

    async def test_of_more_places_than_are_free(self, embedded: SeatingService) -> None:
        show_id = await embedded.show((BALCONY,))

        answer = await embedded.hold(show_id, 5)

        assert (answer.status_code, answer.json()["code"]) == (409, "not_enough_seats")
        assert (answer.json()["requested"], answer.json()["available"]) == (5, 4)

    async def test_of_a_single_seat_left_if_the_show_forbids_it(self, embedded: SeatingService) -> None:
        show_id = await embedded.show((FRONT,), orphan_rule="REFUSE")

        answer = await embedded.hold(show_id, seats=["1-A-2"])

        assert (answer.status_code, answer.json()["code"]) == (409, "leaves_single_seat")

    async def test_of_separate_seats_if_they_must_be_together(self, embedded: SeatingService) -> None:
        show_id = await embedded.show((BALCONY,))
        await embedded.given_hold(show_id, seats=["1-A-2"])

        answer = await embedded.hold(show_id, 3, together=True)

        assert (answer.status_code, answer.json()["code"], answer.json()["largest_block"]) == (
            409,
            "no_adjacent_seats",
            2,
        )

    async def test_over_the_limit_of_a_user(self, seating: SeatingService) -> None:
        show_id = await seating.show()
        user = UserId.new()
        await seating.given_hold(show_id, 5, user=user)

        answer = await seating.hold(show_id, 4, user=user)

        assert (answer.status_code, answer.json()["code"]) == (409, "seat_limit_reached")
        assert (answer.json()["limit"], answer.json()["held"], answer.json()["booked"]) == (8, 5, 0)
        assert (await seating.hold(show_id, 3, user=user)).status_code == 201

    async def test_over_the_limit_of_the_show(self, embedded: SeatingService) -> None:
        show_id = await embedded.show(max_seats_per_user=2)

        assert (await embedded.hold(show_id, 3)).json()["limit"] == 2
        assert (await embedded.hold(show_id, 2)).status_code == 201

    @pytest.mark.parametrize("status", ["UPCOMING", "CANCELLED", "COMPLETED"])
    async def test_while_the_show_is_not_on_sale(self, embedded: SeatingService, status: str) -> None:
        show_id = await embedded.show(status=status)

        answer = await embedded.hold(show_id, 1)

        assert (answer.status_code, answer.json()["code"]) == (409, "sale_closed")
        assert answer.json()["event_status"] == status

    async def test_when_the_show_is_sold_out(self, embedded: SeatingService) -> None:
        show_id = await embedded.show(status="SOLD_OUT")

        answer = await embedded.hold(show_id, 1)

        assert (answer.status_code, answer.json()["code"]) == (409, "sold_out")

    async def test_outside_the_sale_window(self, embedded: SeatingService) -> None:
        now = embedded.run.clock.now()
        opens, closes = now + timedelta(hours=1), now + timedelta(hours=2)
        show_id = await embedded.show(sale_start_time=opens, sale_end_time=closes)

        early = await embedded.hold(show_id, 1)
        embedded.run.clock.advance(3600)
        in_time = await embedded.hold(show_id, 1)
        embedded.run.clock.advance(3600)
        late = await embedded.hold(show_id, 1)

        assert (early.json()["code"], in_time.status_code, late.json()["code"]) == ("sale_closed", 201, "sale_closed")
        assert early.json()["opens_at"] == opens.isoformat().replace("+00:00", "Z")
        assert early.json()["closes_at"] == closes.isoformat().replace("+00:00", "Z")

    async def test_when_too_many_wait(self, sqlite_databases: Databases) -> None:
        variables = {"HOLD_QUEUE": "1", "SEATING_HOLD_BATCH": "1"}
        async with open_seating(sqlite_databases, **variables) as seating:
            show_id = await seating.show((FLOOR,))

            answers = await asyncio.gather(*(seating.hold(show_id, 1) for _ in range(30)))

        late = [answer for answer in answers if answer.status_code == 503]
        assert sum(answer.status_code in {201, 409} for answer in answers) + len(late) == 30
        assert (late[0].json()["code"], late[0].headers["retry-after"]) == ("too_many_waiting", "1")


class TestReading:
    async def test_one_and_all_of_the_caller(self, seating: SeatingService) -> None:
        show_id = await seating.show()
        user = UserId.new()
        holds = [await seating.given_hold(show_id, 1, user=user) for _ in range(3)]
        await seating.given_hold(show_id, 1)
        caller, path = seating.run.as_user(subject=user), f"/inventory/{show_id}/holds"

        one = await caller.get(f"{path}/{holds[0]['hold_id']}")
        page = (await caller.get(path, params={"size": 2})).json()

        assert one.json() == holds[0]
        assert [each["hold_id"] for each in page["holds"]] == [holds[2]["hold_id"], holds[1]["hold_id"]]
        assert page["page"] == {"number": 0, "size": 2, "total_elements": 3, "total_pages": 2}

    async def test_another_users_hold_is_404(self, embedded: SeatingService) -> None:
        show_id = await embedded.show()
        hold = await embedded.given_hold(show_id, 1)
        other = embedded.run.as_user()

        answers = [
            await other.get(f"/inventory/{show_id}/holds/{hold['hold_id']}"),
            await other.delete(f"/inventory/{show_id}/holds/{hold['hold_id']}"),
            await other.get(f"/inventory/{show_id}/holds/{HoldId.new()}"),
        ]

        assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(404, "hold_not_found")}


class TestReleasing:
    async def test_frees_the_places_once(self, seating: SeatingService) -> None:
        show_id = await seating.show()
        user = UserId.new()
        seated = await seating.given_hold(show_id, 2, user=user)
        standing = await seating.given_hold(show_id, 2, user=user, section="Floor")
        caller = seating.run.as_user(subject=user)
        paths = [f"/inventory/{show_id}/holds/{hold['hold_id']}" for hold in (seated, standing)]

        statuses = [(await caller.delete(path)).status_code for path in paths * 2]

        assert statuses == [204] * 4
        assert await seating.counts(show_id) == (24, 0, 0, 0)
        assert (await caller.get(paths[0])).json()["status"] == "RELEASED"
        released = [event for event in await seating.run.published() if isinstance(event, SeatsReleased)]
        assert [(event.hold_id, event.quantity) for event in released] == [
            (seated["hold_id"], 2),
            (standing["hold_id"], 2),
        ]
        await assert_consistent(seating, show_id)

    async def test_no_longer_counts_towards_the_limit(self, embedded: SeatingService) -> None:
        show_id = await embedded.show()
        user = UserId.new()
        hold = await embedded.given_hold(show_id, 8, user=user)
        await embedded.run.as_user(subject=user).delete(f"/inventory/{show_id}/holds/{hold['hold_id']}")

        assert (await embedded.hold(show_id, 8, user=user)).status_code == 201


class TestExpiry:
    async def test_frees_the_places_of_holds_whose_time_is_over(self, seating: SeatingService) -> None:
        show_id = await seating.show()
        user = UserId.new()
        hold = await seating.given_hold(show_id, 2, user=user)
        seating.run.clock.advance(60)
        await seating.given_hold(show_id, 1)
        seating.run.clock.advance(540)

        ended = await seating.end_due_holds()

        assert ended == 1
        assert await seating.counts(show_id) == (23, 1, 0, 0)
        path = f"/inventory/{show_id}/holds/{hold['hold_id']}"
        assert (await seating.run.as_user(subject=user).get(path)).json()["status"] == "EXPIRED"
        assert (await seating.run.as_user(subject=user).delete(path)).status_code == 204
        await assert_consistent(seating, show_id)

    async def test_is_shown_before_the_places_are_free(self, embedded: SeatingService) -> None:
        show_id = await embedded.show()
        user = UserId.new()
        hold = await embedded.given_hold(show_id, 2, user=user)
        caller, path = embedded.run.as_user(subject=user), f"/inventory/{show_id}/holds/{hold['hold_id']}"
        active = await caller.get(path)
        embedded.run.clock.advance(600)

        ended = await caller.get(path, headers={"if-none-match": active.headers["etag"]})

        assert (active.json()["status"], ended.json()["status"]) == ("ACTIVE", "EXPIRED")

    @pytest.mark.parametrize("setting", ["HOLD_EXPIRES_IN", "HOLD_GRACE", "WAITLIST_OFFER_EXPIRES_IN"])
    async def test_runs_at_least_twice_in_the_shortest_time_of_a_hold(
        self, setting: str, sqlite_databases: Databases
    ) -> None:
        async with open_seating(sqlite_databases, **{setting: "2"}) as seating:
            assert seating.run.context.resource(HoldExpiry).max_pause == 1.0

    async def test_takes_several_batches(self, sqlite_databases: Databases) -> None:
        async with open_seating(sqlite_databases, SEATING_EXPIRY_BATCH="3") as seating:
            shows = [await seating.show((FLOOR,)) for _ in range(2)]
            for show_id in shows * 5:
                await seating.given_hold(show_id, 1)
            seating.run.clock.advance(600)

            ended = await seating.end_due_holds()

            assert ended == 10
            assert [await seating.counts(show_id) for show_id in shows] == [(10, 0, 0, 0)] * 2

    async def test_takes_larger_batches_while_no_other_change_is_requested(self, sqlite_databases: Databases) -> None:
        async with open_seating(sqlite_databases, SEATING_EXPIRY_BATCH="3") as seating:
            show_id = await seating.show((FLOOR,))
            for _ in range(10):
                await seating.given_hold(show_id, 1)
            seating.run.clock.advance(600)
            before = (await seating.seat_map(show_id))["version"]

            ended = await seating.end_due_holds()

            assert ended == 10
            assert (await seating.seat_map(show_id))["version"] - before == 2  # 3 after the requests, then the other 7

    async def test_happens_by_itself(self, sqlite_databases: Databases) -> None:
        async with open_seating(sqlite_databases, background=True, HOLD_EXPIRES_IN="1") as seating:
            show_id = await seating.show()
            await seating.given_hold(show_id, 2)
            seating.run.clock.advance(1)

            async with asyncio.timeout(60):
                while (await seating.counts(show_id))[1]:
                    pass

    async def test_a_cancelled_show_ends_its_holds(self, seating: SeatingService) -> None:
        show_id = await seating.show()
        user = UserId.new()
        hold = await seating.given_hold(show_id, 2, user=user)
        await seating.change(show_id, ShowStatusChanged, status="CANCELLED")

        await seating.end_due_holds()

        assert await seating.counts(show_id) == (24, 0, 0, 0)
        path = f"/inventory/{show_id}/holds/{hold['hold_id']}"
        assert (await seating.run.as_user(subject=user).get(path)).json()["status"] == "RELEASED"


class TestChangesSinceAVersion:
    async def test_are_the_last_state_of_each_seat(self, seating: SeatingService) -> None:
        show_id = await seating.show((FRONT, FLOOR))
        user = UserId.new()
        await seating.given_hold(show_id, seats=["1-A-1"])
        version = (await seating.seat_map(show_id))["version"]
        hold = await seating.given_hold(show_id, seats=["1-A-2", "1-B-1"], user=user)
        await seating.given_hold(show_id, seats=["1-A-3"])
        await seating.given_hold(show_id, 4, section="Floor")
        await seating.run.as_user(subject=user).delete(f"/inventory/{show_id}/holds/{hold['hold_id']}")

        answer = await seating.run.anonymous.get(f"/inventory/{show_id}/seats", params={"since": version})

        found = answer.json()
        assert sorted(found["changes"]) == [["1-A-2", "F"], ["1-A-3", "H"], ["1-B-1", "F"]]
        assert found["standing"] == [{"section": "Floor", "available": 6}]
        assert found["version"] == (await seating.seat_map(show_id))["version"]


class TestLayoutsInUse:
    async def test_keep_the_states_of_seats(self, seating: SeatingService) -> None:
        show_id = await seating.show((FRONT, FLOOR))
        await seating.given_hold(show_id, seats=["1-B-6"])
        larger = (FRONT.model_copy(update={"rows": 3, "seats_per_row": 7}), FLOOR)

        await seating.put_layout(show_id, *larger)

        assert await seating.rows(show_id) == ["FFFFFFF", "FFFFFHF", "FFFFFFF"]
        await seating.given_hold(show_id, seats=["1-C-7"])
        await assert_consistent(seating, show_id)

    async def test_cannot_lose_a_place_that_is_in_use(self, seating: SeatingService) -> None:
        show_id = await seating.show((FRONT, FLOOR))
        await seating.given_hold(show_id, seats=["1-B-6"])
        await seating.given_hold(show_id, 5, section="Floor")

        shorter = await seating.put_layout(show_id, FRONT.model_copy(update={"rows": 1}), FLOOR)
        smaller = await seating.put_layout(show_id, FRONT, FLOOR.model_copy(update={"capacity": 4}))
        retired = await seating.events_service.delete(f"/inventory/{show_id}/layout?revision=1")

        assert [answer.json()["code"] for answer in (shorter, smaller, retired)] == [
            "seats_in_use",
            "seats_in_use",
            "event_in_use",
        ]
        assert (shorter.json()["seats"], smaller.json()["used"]) == (["1-B-6"], 5)

    async def test_an_event_that_loses_such_a_place_keeps_the_sections(self, embedded: SeatingService) -> None:
        show_id = await embedded.show((FRONT, FLOOR))
        await embedded.given_hold(show_id, 5, section="Floor")

        await embedded.change(show_id, sections=(FRONT,), status="SOLD_OUT")

        assert await embedded.counts(show_id) == (17, 5, 0, 0)
        assert (await embedded.hold(show_id, 1)).json()["code"] == "sold_out"
