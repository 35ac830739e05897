from tests.services.seating.support import BOOKING, SeatingService, assert_consistent

from portico.contracts.events import SectionPlan, ShowId
from portico.contracts.seating import SalesExhausted, SalesResumed
from portico.testing.running_service import Answer

FRONT = SectionPlan(name="Front", rows=2, seats_per_row=4, accessible=("A-1",))


async def set_blocked(seating: SeatingService, show_id: ShowId, *seats: str, blocked: bool = True) -> Answer:
    staff = seating.run.as_user("inventory:write")
    return await staff.put(f"/inventory/{show_id}/blocks", json={"seats": list(seats), "blocked": blocked})


class TestBlocks:
    async def test_keep_seats_from_the_sale_until_they_are_returned(self, seating: SeatingService) -> None:
        show_id = await seating.show((FRONT,))

        blocked = await set_blocked(seating, show_id, "1-A-1", "1-B-2")
        refused = await seating.hold(show_id, seats=["1-B-2"])
        counts = await seating.counts(show_id)
        rows = await seating.rows(show_id)
        await set_blocked(seating, show_id, "1-A-1", "1-A-2", blocked=False)

        assert blocked.json() == {"event_id": show_id, "seats": ["1-A-1", "1-B-2"], "blocked": True}
        assert (refused.status_code, refused.json()["code"]) == (409, "seat_taken")
        assert (counts, rows) == ((6, 0, 0, 2), ["BFFF", "FBFF"])
        assert await seating.counts(show_id) == (7, 0, 0, 1)
        await assert_consistent(seating, show_id)

    async def test_of_a_taken_seat_block_none(self, embedded: SeatingService) -> None:
        show_id = await embedded.show((FRONT,))
        await embedded.given_hold(show_id, seats=["1-B-2"])

        taken = await set_blocked(embedded, show_id, "1-B-1", "1-B-2")
        unknown = await set_blocked(embedded, show_id, "1-B-1", "1-B-9")

        assert (taken.status_code, taken.json()["code"], taken.json()["seats"]) == (409, "seat_taken", ["1-B-2"])
        assert (unknown.status_code, unknown.json()["code"]) == (422, "unknown_seat")
        assert await embedded.counts(show_id) == (7, 1, 0, 0)

    async def test_need_a_permission(self, embedded: SeatingService) -> None:
        show_id = await embedded.show((FRONT,))

        answer = await embedded.run.as_user().put(
            f"/inventory/{show_id}/blocks", json={"seats": ["1-A-1"], "blocked": True}
        )

        assert (answer.status_code, answer.json()["permission"]) == (403, "inventory:write")

    async def test_do_not_count_for_a_sold_out_show(self, embedded: SeatingService) -> None:
        show_id = await embedded.show((FRONT,))
        await set_blocked(embedded, show_id, "1-A-1", "1-B-1", "1-B-2", "1-B-3", "1-B-4")
        await embedded.sell(await embedded.given_hold(show_id, 3))

        await set_blocked(embedded, show_id, "1-B-1", blocked=False)

        events = [type(event) for event in await embedded.run.published()]
        assert [kind for kind in events if kind in {SalesExhausted, SalesResumed}] == [SalesExhausted, SalesResumed]


class TestHistory:
    async def test_tells_who_had_a_seat_when_and_why(self, seating: SeatingService) -> None:
        show_id = await seating.show((FRONT,))
        start = seating.run.clock.now()
        first = await seating.given_hold(show_id, seats=["1-A-2", "1-A-3"])
        seating.run.clock.advance(600)
        await seating.end_due_holds()
        second = await seating.given_hold(show_id, seats=["1-A-2"])
        await seating.sell(second)
        await seating.put(second, "return", key="one", places=[{"seat_id": "1-A-2"}])
        await set_blocked(seating, show_id, "1-A-2")

        staff = seating.run.as_user("inventory:read")
        found = (await staff.get(f"/inventory/{show_id}/seats/1-A-2/history")).json()

        assert [(each["state"], each["reason"], each["user_id"], each["booking_id"]) for each in found["changes"]] == [
            ("B", "blocked", None, None),
            ("F", "returned", second["user_id"], BOOKING),
            ("S", "sold", second["user_id"], BOOKING),
            ("H", "held", second["user_id"], BOOKING),
            ("F", "expired", first["user_id"], None),
            ("H", "held", first["user_id"], None),
        ]
        assert found["changes"][-1]["changed_at"] == start.isoformat().replace("+00:00", "Z")

    async def test_remains_with_the_seat_in_a_larger_hall(self, embedded: SeatingService) -> None:
        show_id = await embedded.show((FRONT, FRONT.model_copy(update={"name": "Back"})))
        await embedded.given_hold(show_id, seats=["2-B-1"])
        await embedded.put_layout(
            show_id,
            *(FRONT.model_copy(update={"name": name, "rows": 9, "seats_per_row": 7}) for name in ("Front", "Back")),
        )

        staff = embedded.run.as_user("inventory:read")
        found = (await staff.get(f"/inventory/{show_id}/seats/2-B-1/history")).json()

        assert [each["state"] for each in found["changes"]] == ["H"]

    async def test_of_an_unknown_seat_is_404_and_not_public(self, embedded: SeatingService) -> None:
        show_id = await embedded.show((FRONT,))
        path = f"/inventory/{show_id}/seats/1-A-9/history"

        unknown = await embedded.run.as_user("inventory:read").get(path)

        assert (unknown.status_code, unknown.json()["code"]) == (404, "seat_not_found")
        assert (await embedded.run.as_user().get(path)).status_code == 403
