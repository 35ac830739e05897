import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from tests.services.seating.support import BALCONY, BOOKING, FLOOR, SeatingService, assert_consistent

from portico.contracts.bookings import BookingId
from portico.contracts.events import SectionPlan, ShowStatusChanged
from portico.contracts.seating import HoldId, SalesExhausted, SalesResumed, SeatsReleased, SeatsSold
from portico.kit import UserId

FRONT = SectionPlan(name="Front", rows=1, seats_per_row=3, price=20)
OTHER = BookingId.new()


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def sales_events(seating: SeatingService) -> list[tuple[type, int]]:
    """Return kind and number of the events that a show is exhausted, or no longer is."""
    found = await seating.run.published()
    return [(type(event), event.number) for event in found if isinstance(event, SalesExhausted | SalesResumed)]


class TestClaim:
    async def test_keeps_the_hold_from_expiring(self, seating: SeatingService) -> None:
        show_id = await seating.show()
        hold = await seating.given_hold(show_id, 2)

        answers = [await seating.put(hold, "claim", user_id=hold["user_id"]) for _ in range(2)]
        seating.run.clock.advance(3600)
        await seating.end_due_holds()

        assert [(answer.status_code, answer.json()["status"]) for answer in answers] == [(200, "CLAIMED")] * 2
        assert answers[0].json()["places"] == hold["seats"]
        assert await seating.counts(show_id) == (22, 2, 0, 0)

    async def test_of_another_booking_is_refused(self, embedded: SeatingService) -> None:
        hold = await embedded.given_hold(await embedded.show(), 1)
        await embedded.put(hold, "claim", user_id=hold["user_id"])

        in_use = await embedded.put(hold, "claim", user_id=hold["user_id"], booking_id=OTHER)
        await embedded.put(hold, "sale")
        used = await embedded.put(hold, "claim", user_id=hold["user_id"], booking_id=OTHER)

        assert (code(in_use), code(used)) == ((409, "hold_in_use"), (409, "hold_used"))
        assert used.json()["booking_id"] == BOOKING

    async def test_that_arrives_after_its_booking_gave_the_hold_back_is_refused(self, seating: SeatingService) -> None:
        show_id = await seating.show()
        hold = await seating.given_hold(show_id, 1)

        await seating.put(hold, "release", keep=True)
        late = await seating.put(hold, "claim", user_id=hold["user_id"])
        other = await seating.put(hold, "claim", user_id=hold["user_id"], booking_id=OTHER)

        assert code(late) == (409, "hold_lost")
        assert (other.status_code, other.json()["booking_id"]) == (200, OTHER)

    async def test_of_another_users_hold_is_404(self, embedded: SeatingService) -> None:
        show_id = await embedded.show()
        hold = await embedded.given_hold(show_id, 1)
        elsewhere = {**hold, "event_id": await embedded.show()}

        answers = [
            await embedded.put(hold, "claim", user_id=UserId.new()),
            await embedded.put({**hold, "hold_id": HoldId.new()}, "claim", user_id=hold["user_id"]),
            await embedded.put(elsewhere, "claim", user_id=hold["user_id"]),
        ]

        assert {code(answer) for answer in answers} == {(404, "hold_not_found")}

    async def test_after_the_end_is_refused_even_if_the_places_are_not_free_yet(self, embedded: SeatingService) -> None:
        hold = await embedded.given_hold(await embedded.show(), 1)
        embedded.run.clock.advance(600)

        before = await embedded.put(hold, "claim", user_id=hold["user_id"])
        await embedded.end_due_holds()
        after = await embedded.put(hold, "claim", user_id=hold["user_id"])

        assert code(before) == code(after) == (409, "hold_expired")

    async def test_protects_the_hold_from_its_user(self, embedded: SeatingService) -> None:
        show_id = await embedded.show()
        hold = await embedded.given_hold(show_id, 1)
        caller = embedded.run.as_user(subject=hold["user_id"])
        path = f"/inventory/{show_id}/holds/{hold['hold_id']}"
        await embedded.put(hold, "claim", user_id=hold["user_id"])

        in_use = await caller.delete(path)
        await embedded.put(hold, "sale")
        used = await caller.delete(path)

        assert (code(in_use), code(used)) == ((409, "hold_in_use"), (409, "hold_used"))


class TestRelease:
    async def test_to_the_user_leaves_time_for_another_card(self, seating: SeatingService) -> None:
        show_id = await seating.show()
        hold = await seating.given_hold(show_id, 2)
        await seating.put(hold, "claim", user_id=hold["user_id"])
        seating.run.clock.advance(590)

        answers = [await seating.put(hold, "release", keep=True) for _ in range(2)]

        until = (seating.run.clock.now() + timedelta(minutes=2)).isoformat().replace("+00:00", "Z")
        assert [answer.json()["status"] for answer in answers] == ["ACTIVE"] * 2
        assert answers[0].json()["expires_at"] == answers[1].json()["expires_at"] == until
        assert (await seating.put(hold, "claim", user_id=hold["user_id"], booking_id=OTHER)).status_code == 200

    async def test_to_the_public_frees_the_places(self, seating: SeatingService) -> None:
        show_id = await seating.show()
        hold = await seating.given_hold(show_id, 2)
        await seating.put(hold, "claim", user_id=hold["user_id"])

        answers = [await seating.put(hold, "release", keep=False) for _ in range(2)]

        assert [answer.json()["status"] for answer in answers] == ["RELEASED"] * 2
        assert await seating.counts(show_id) == (24, 0, 0, 0)

    async def test_of_a_hold_that_is_not_claimed_by_the_booking_changes_nothing(self, embedded: SeatingService) -> None:
        show_id = await embedded.show()
        active, ended, claimed = [await embedded.given_hold(show_id, 1) for _ in range(3)]
        await embedded.run.as_user(subject=ended["user_id"]).delete(f"/inventory/{show_id}/holds/{ended['hold_id']}")
        await embedded.put(claimed, "claim", user_id=claimed["user_id"], booking_id=OTHER)

        answers = [await embedded.put(each, "release", keep=False) for each in (active, ended, claimed)]

        assert [answer.json()["status"] for answer in answers] == ["ACTIVE", "RELEASED", "CLAIMED"]

    async def test_of_a_sold_hold_is_refused(self, embedded: SeatingService) -> None:
        hold = await embedded.given_hold(await embedded.show(), 1)
        await embedded.sell(hold)

        assert code(await embedded.put(hold, "release", keep=True)) == (409, "hold_used")

    async def test_after_a_cancellation_frees_the_places(self, embedded: SeatingService) -> None:
        show_id = await embedded.show()
        hold = await embedded.given_hold(show_id, 1)
        await embedded.put(hold, "claim", user_id=hold["user_id"])
        await embedded.change(show_id, ShowStatusChanged, status="CANCELLED")

        sold = await embedded.put(hold, "sale")
        released = await embedded.put(hold, "release", keep=True)

        assert code(sold) == (409, "event_cancelled")
        assert released.json()["status"] == "RELEASED"
        assert await embedded.counts(show_id) == (24, 0, 0, 0)


class TestSale:
    async def test_sells_the_places_once(self, seating: SeatingService) -> None:
        show_id = await seating.show()
        user = UserId.new()
        seated = await seating.given_hold(show_id, 2, user=user)
        standing = await seating.given_hold(show_id, 3, user=user, section="Floor")

        for hold in (seated, standing, seated):
            await seating.sell(hold)

        assert await seating.counts(show_id) == (19, 0, 5, 0)
        sold = [event for event in await seating.run.published() if isinstance(event, SeatsSold)]
        assert [(event.hold_id, event.quantity) for event in sold] == [
            (seated["hold_id"], 2),
            (standing["hold_id"], 3),
        ]
        await assert_consistent(seating, show_id)
        refused = await seating.hold(show_id, 4, user=user)
        assert (refused.json()["held"], refused.json()["booked"]) == (0, 5)

    async def test_of_a_hold_that_the_booking_does_not_claim_is_refused(self, embedded: SeatingService) -> None:
        show_id = await embedded.show()
        active, other = [await embedded.given_hold(show_id, 1) for _ in range(2)]
        await embedded.put(other, "claim", user_id=other["user_id"], booking_id=OTHER)

        answers = [await embedded.put(hold, "sale") for hold in (active, other)]

        assert {code(answer) for answer in answers} == {(409, "hold_lost")}

    async def test_of_every_place_is_published_once(self, seating: SeatingService) -> None:
        show_id = await seating.show((FRONT, FLOOR.model_copy(update={"capacity": 2})))

        for quantity, section in ((3, "Front"), (2, "Floor")):
            await seating.sell(await seating.given_hold(show_id, quantity, section=section))

        assert await seating.counts(show_id) == (0, 0, 5, 0)
        assert await sales_events(seating) == [(SalesExhausted, 1)]

    async def test_concurrent_claims_of_several_bookings_sell_once(self, seating: SeatingService) -> None:
        show_id = await seating.show()
        hold = await seating.given_hold(show_id, 2)
        bookings = [BookingId.new() for _ in range(10)]

        async def pay(booking_id: BookingId) -> int:
            claimed = await seating.put(hold, "claim", user_id=hold["user_id"], booking_id=booking_id)
            if claimed.status_code != 200:
                return claimed.status_code
            return (await seating.put(hold, "sale", booking_id=booking_id)).status_code

        assert Counter(await asyncio.gather(*map(pay, bookings))) == {200: 1, 409: 9}
        assert await seating.counts(show_id) == (22, 0, 2, 0)


class TestReturn:
    async def test_frees_the_places_once_per_key(self, seating: SeatingService) -> None:
        show_id = await seating.show()
        user = UserId.new()
        seated = await seating.given_hold(show_id, user=user, seats=["1-B-1", "1-B-2", "1-B-3"])
        standing = await seating.given_hold(show_id, 3, user=user, section="Floor")
        for hold in (seated, standing):
            await seating.sell(hold)

        for key in ("one", "one", "two"):
            await seating.put(seated, "return", key=key, places=[{"seat_id": "1-B-2"}, {"seat_id": "1-B-9"}])
        await seating.put(standing, "return", key="one", places=[{"section": "Floor"}, {"section": "Floor"}])

        assert await seating.counts(show_id) == (21, 0, 3, 0)
        assert (await seating.rows(show_id))[1] == "SFSFF"
        returned = [event for event in await seating.run.published() if isinstance(event, SeatsReleased)]
        assert [(event.quantity, event.seats) for event in returned] == [(1, ("1-B-2",)), (2, ())]
        await assert_consistent(seating, show_id)
        refused = await seating.hold(show_id, 6, user=user)
        assert refused.json()["booked"] == 3

    async def test_by_another_booking_changes_nothing(self, embedded: SeatingService) -> None:
        show_id = await embedded.show()
        hold = await embedded.given_hold(show_id, seats=["1-B-1"])
        await embedded.sell(hold)

        answer = await embedded.put(hold, "return", key="one", places=[{"seat_id": "1-B-1"}], booking_id=OTHER)

        assert (answer.status_code, await embedded.counts(show_id)) == (200, (23, 0, 1, 0))

    async def test_to_a_sold_out_show_is_published(self, seating: SeatingService) -> None:
        show_id = await seating.show((FRONT,))
        hold = await seating.given_hold(show_id, 3)
        await seating.sell(hold)

        await seating.put(hold, "return", key="one", places=[{"seat_id": "1-A-1"}])
        await seating.sell(await seating.given_hold(show_id, 1))

        assert await sales_events(seating) == [(SalesExhausted, 1), (SalesResumed, 2), (SalesExhausted, 3)]

    async def test_a_larger_hall_resumes_the_sale(self, embedded: SeatingService) -> None:
        show_id = await embedded.show((FRONT,))
        await embedded.sell(await embedded.given_hold(show_id, 3))

        await embedded.put_layout(show_id, FRONT, BALCONY)

        assert await sales_events(embedded) == [(SalesExhausted, 1), (SalesResumed, 2)]


class TestTakingForAUser:
    async def test_is_safe_to_repeat(self, seating: SeatingService) -> None:
        show_id = await seating.show()
        hold = {"event_id": show_id, "hold_id": HoldId.new()}
        path = f"/inventory/{show_id}/holds/{hold['hold_id']}"
        caller, user = seating.run.as_service("bookings"), UserId.new()

        answers = [await caller.put(path, json={"user_id": user, "quantity": 2}) for _ in range(2)]
        other = await caller.put(path, json={"user_id": UserId.new(), "quantity": 2})

        assert answers[0].json() == answers[1].json()
        assert (answers[0].json()["user_id"], answers[0].json()["status"]) == (user, "ACTIVE")
        assert code(other) == (404, "hold_not_found")
        assert await seating.counts(show_id) == (22, 2, 0, 0)

    @pytest.mark.parametrize("change", ["", "/claim", "/release", "/sale", "/return"])
    async def test_and_every_other_change_is_for_services_only(self, embedded: SeatingService, change: str) -> None:
        hold = await embedded.given_hold(await embedded.show(), 1)

        user = embedded.run.as_user("*", subject=hold["user_id"])
        answer = await user.put(f"/inventory/{hold['event_id']}/holds/{hold['hold_id']}{change}", json={})

        assert code(answer) == (403, "services_only")
