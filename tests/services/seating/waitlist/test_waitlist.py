import asyncio
from datetime import timedelta
from typing import Any

import pytest
from tests.services.seating.support import SeatingService, assert_consistent

from portico.contracts.events import SectionPlan, ShowId, ShowStatusChanged
from portico.contracts.seating import SeatsHeld, SeatsReleased, WaitlistLapsed, WaitlistOffered
from portico.kit import UserId
from portico.testing.running_service import Answer

ROW = SectionPlan(name="Row", rows=1, seats_per_row=6)
OFFER = 1_800  # seconds that an offer is valid by default


class SoldOutShow:
    """A show with one row of six seats, all of which are held, and its waiting list."""

    def __init__(self, seating: SeatingService, show_id: ShowId) -> None:
        self.seating = seating
        self.show_id = show_id
        self.holds: list[dict[str, Any]] = []

    @classmethod
    async def open(cls, seating: SeatingService, *quantities: int, **members: Any) -> "SoldOutShow":
        show = cls(seating, await seating.show((ROW,), **members))
        for quantity in quantities or (1,) * 6:
            show.holds.append(await seating.given_hold(show.show_id, quantity))
        return show

    async def join(self, quantity: int | None = None, *, user: str | None = None) -> Answer:
        body = {} if quantity is None else {"quantity": quantity}
        return await self.seating.run.as_user(subject=user).post(f"/events/{self.show_id}/waitlist", json=body)

    async def waiting(self, *quantities: int) -> list[UserId]:
        """Let parties join, and return their users."""
        users = [UserId.new() for _ in quantities]
        for user, quantity in zip(users, quantities, strict=True):
            assert (await self.join(quantity, user=user)).status_code == 201
        return users

    async def entry(self, user: str) -> dict[str, Any]:
        answer = await self.seating.run.as_user(subject=user).get(f"/events/{self.show_id}/waitlist/me")
        assert answer.status_code == 200, answer.content
        found: dict[str, Any] = answer.json()
        return found

    async def statuses(self, users: list[UserId]) -> list[str]:
        return [(await self.entry(each))["status"] for each in users]

    async def release(self, *numbers: int) -> None:
        """Give back the holds with these numbers."""
        for number in numbers:
            hold = self.holds[number]
            answer = await self.seating.run.as_user(subject=hold["user_id"]).delete(
                f"/inventory/{self.show_id}/holds/{hold['hold_id']}"
            )
            assert answer.status_code == 204, answer.content

    async def leave(self, user: str) -> Answer:
        return await self.seating.run.as_user(subject=user).delete(f"/events/{self.show_id}/waitlist/me")

    async def let_offers_end(self) -> None:
        self.seating.run.clock.advance(OFFER)
        await self.seating.end_due_holds()


class TestJoining:
    async def test_a_show_without_free_places(self, seating: SeatingService) -> None:
        show = await SoldOutShow.open(seating)
        await show.waiting(2)
        user = UserId.new()

        answer = await show.join(user=user)

        entry = answer.json()
        assert answer.status_code == 201
        assert entry == {
            "entry_id": entry["entry_id"],
            "event_id": show.show_id,
            "user_id": user,
            "quantity": 1,
            "position": 2,
            "status": "WAITING",
            "hold_id": None,
            "expires_at": None,
            "joined_at": seating.run.clock.now().isoformat().replace("+00:00", "Z"),
        }
        assert await show.entry(user) == entry

    async def test_is_refused_while_the_places_can_be_had(self, embedded: SeatingService) -> None:
        show = await SoldOutShow.open(embedded, 4)

        answer = await show.join(2)

        assert (answer.status_code, answer.json()["code"]) == (409, "seats_available")
        assert (await show.join(3)).status_code == 201

    async def test_does_not_count_accessible_seats_as_available(self, embedded: SeatingService) -> None:
        plan = SectionPlan(name="Row", rows=1, seats_per_row=2, accessible=("A-1",))
        show = SoldOutShow(embedded, await embedded.show((plan,)))
        await embedded.given_hold(show.show_id, 1)

        assert (await show.join()).status_code == 201

    async def test_is_possible_once(self, seating: SeatingService) -> None:
        show = await SoldOutShow.open(seating)
        user = UserId.new()
        first = await show.join(user=user)

        again = await show.join(2, user=user)

        assert (again.status_code, again.json()["code"]) == (409, "already_waiting")
        assert again.json()["entry_id"] == first.json()["entry_id"]

    async def test_at_once_is_possible_once(self, seating: SeatingService) -> None:
        show = await SoldOutShow.open(seating)
        user = UserId.new()

        answers = await asyncio.gather(*(show.join(user=user) for _ in range(4)))

        assert sorted(each.status_code for each in answers) == [201, 409, 409, 409]

    async def test_at_once_gives_each_a_position(self, seating: SeatingService) -> None:
        show = await SoldOutShow.open(seating)

        answers = await asyncio.gather(*(show.join() for _ in range(5)))

        assert sorted(each.json()["position"] for each in answers) == [1, 2, 3, 4, 5]

    async def test_again_is_possible_after_leaving(self, embedded: SeatingService) -> None:
        show = await SoldOutShow.open(embedded)
        first, second = await show.waiting(1, 1)
        await show.leave(first)

        again = await show.join(user=first)

        assert (again.status_code, again.json()["position"]) == (201, 2)
        assert (await show.entry(second))["position"] == 1

    @pytest.mark.parametrize("status", ["UPCOMING", "CANCELLED", "COMPLETED"])
    async def test_needs_a_show_on_sale(self, embedded: SeatingService, status: str) -> None:
        show = await SoldOutShow.open(embedded)
        await embedded.change(show.show_id, ShowStatusChanged, status=status)

        answer = await show.join()

        assert (answer.status_code, answer.json()["code"]) == (409, "sale_closed")

    async def test_needs_an_open_sale(self, embedded: SeatingService) -> None:
        show = await SoldOutShow.open(embedded)
        await embedded.change(show.show_id, sale_end_time=embedded.run.clock.now())

        assert (await show.join()).json()["code"] == "sale_closed"

    async def test_of_more_places_than_a_user_may_have_is_refused(self, embedded: SeatingService) -> None:
        show = await SoldOutShow.open(embedded, 2, 2, 2, max_seats_per_user=3)

        answer = await show.join(2, user=show.holds[0]["user_id"])

        assert (answer.status_code, answer.json()["code"]) == (409, "seat_limit_reached")
        assert (answer.json()["limit"], answer.json()["held"]) == (3, 2)

    @pytest.mark.parametrize("quantity", [0, -1, 10**12, 1.5, "two"])
    async def test_with_bad_input_is_422(self, embedded: SeatingService, quantity: Any) -> None:
        show = await SoldOutShow.open(embedded)

        assert (await show.join(quantity)).status_code == 422

    async def test_an_unknown_show_is_404(self, embedded: SeatingService) -> None:
        show = SoldOutShow(embedded, ShowId.new())

        assert (await show.join()).json()["code"] == "event_not_found"
        assert (await show.leave(UserId.new())).json()["code"] == "event_not_found"

    async def test_with_an_idempotency_key_is_safe_to_repeat(self, seating: SeatingService) -> None:
        show = await SoldOutShow.open(seating)
        caller, path = seating.run.as_user(), f"/events/{show.show_id}/waitlist"

        first, again = [await caller.post(path, json={}, headers={"idempotency-key": "one"}) for _ in range(2)]

        assert (first.status_code, again.content) == (201, first.content)


class TestOffers:
    async def test_go_to_the_oldest_party(self, seating: SeatingService) -> None:
        show = await SoldOutShow.open(seating)
        first, second = await show.waiting(1, 1)

        await show.release(3)

        entry = await show.entry(first)
        expected = seating.run.clock.now() + timedelta(seconds=OFFER)
        assert (entry["status"], entry["position"]) == ("OFFERED", None)
        assert entry["expires_at"] == expected.isoformat().replace("+00:00", "Z")
        hold = await seating.run.as_user(subject=first).get(f"/inventory/{show.show_id}/holds/{entry['hold_id']}")
        assert (hold.json()["status"], hold.json()["expires_at"]) == ("ACTIVE", entry["expires_at"])
        assert [each["seat_id"] for each in hold.json()["seats"]] == [show.holds[3]["seats"][0]["seat_id"]]
        assert (await show.entry(second))["position"] == 1
        assert await seating.counts(show.show_id) == (0, 6, 0, 0)
        await assert_consistent(seating, show.show_id)

    async def test_are_published_with_the_release(self, embedded: SeatingService) -> None:
        show = await SoldOutShow.open(embedded)
        [user] = await show.waiting(1)

        await show.release(0)

        entry = await show.entry(user)
        events = (await embedded.run.published())[-3:]
        assert [type(each) for each in events] == [SeatsReleased, SeatsHeld, WaitlistOffered]
        offered = events[-1]
        assert offered == WaitlistOffered(
            entry_id=entry["entry_id"],
            event_id=show.show_id,
            user_id=user,
            hold_id=entry["hold_id"],
            quantity=1,
            expires_at=embedded.run.clock.now() + timedelta(seconds=OFFER),
        ).with_message_id(offered.message_id)

    async def test_pass_over_a_larger_party_which_keeps_its_place(self, seating: SeatingService) -> None:
        show = await SoldOutShow.open(seating)
        large, small = await show.waiting(2, 1)

        await show.release(0)
        assert await show.statuses([large, small]) == ["WAITING", "OFFERED"]
        await show.waiting(1)
        await show.release(1)
        await show.release(2)

        assert (await show.entry(large))["status"] == "WAITING"
        assert await seating.counts(show.show_id) == (1, 5, 0, 0)
        await show.release(3)
        assert (await show.entry(large))["status"] == "OFFERED"

    async def test_leave_the_rest_to_the_public(self, seating: SeatingService) -> None:
        show = await SoldOutShow.open(seating, 3, 3)
        await show.waiting(2)

        await show.release(0)

        assert await seating.counts(show.show_id) == (1, 5, 0, 0)
        assert (await seating.hold(show.show_id, 1)).status_code == 201

    async def test_of_many_places_go_to_many_parties(self, seating: SeatingService) -> None:
        show = await SoldOutShow.open(seating, 6)
        users = await show.waiting(3, 2, 2, 1)

        await show.release(0)

        assert await show.statuses(users) == ["OFFERED", "OFFERED", "WAITING", "OFFERED"]
        await assert_consistent(seating, show.show_id)

    async def test_come_before_a_concurrent_request_of_the_public(self, seating: SeatingService) -> None:
        show = await SoldOutShow.open(seating)
        users = await show.waiting(1, 1, 1)

        answers = await asyncio.gather(
            show.release(0),
            seating.hold(show.show_id, 1),
            show.release(1),
            seating.hold(show.show_id, 1),
            show.release(2),
        )

        assert [each.json()["code"] for each in answers if each is not None] == ["not_enough_seats"] * 2
        assert await show.statuses(users) == ["OFFERED"] * 3

    async def test_that_end_go_to_the_next_party_and_never_to_the_public(self, seating: SeatingService) -> None:
        show = await SoldOutShow.open(seating)
        first, second = await show.waiting(1, 1)
        await show.release(0)
        seating.run.clock.advance(OFFER - 1)
        seating.run.clock.advance(1)

        refused = await seating.hold(show.show_id, 1)
        await seating.end_due_holds()

        assert refused.json()["code"] == "not_enough_seats"
        assert (await show.entry(first))["status"] == "LAPSED"
        assert (await show.entry(second))["status"] == "OFFERED"

    async def test_that_end_are_published(self, embedded: SeatingService) -> None:
        show = await SoldOutShow.open(embedded)
        [user] = await show.waiting(1)
        await show.release(0)
        entry = await show.entry(user)

        await show.let_offers_end()

        [lapsed] = [each for each in await embedded.run.published() if isinstance(each, WaitlistLapsed)]
        assert (lapsed.entry_id, lapsed.hold_id, lapsed.user_id) == (entry["entry_id"], entry["hold_id"], user)

    async def test_that_their_user_gives_back_lapse(self, embedded: SeatingService) -> None:
        show = await SoldOutShow.open(embedded)
        first, second = await show.waiting(1, 1)
        await show.release(0)
        offer = (await show.entry(first))["hold_id"]

        await embedded.run.as_user(subject=first).delete(f"/inventory/{show.show_id}/holds/{offer}")

        assert await show.statuses([first, second]) == ["LAPSED", "OFFERED"]

    async def test_pass_over_a_user_who_would_have_too_many_places(self, seating: SeatingService) -> None:
        show = await SoldOutShow.open(seating, 2, 3, 1, max_seats_per_user=3)
        limited = UserId.new()
        assert (await show.join(3, user=limited)).status_code == 201
        await show.release(2)
        own = await seating.given_hold(show.show_id, 1, user=limited)
        [second] = await show.waiting(2)

        await show.release(1)
        assert await show.statuses([limited, second]) == ["WAITING", "OFFERED"]
        show.holds.append(own)
        await show.release(3)
        assert await show.statuses([limited]) == ["WAITING"]
        await show.release(0)

        assert await show.statuses([limited]) == ["OFFERED"]

    async def test_take_new_places_of_a_larger_hall(self, seating: SeatingService) -> None:
        show = await SoldOutShow.open(seating)
        users = await show.waiting(2, 2)

        await seating.change(show.show_id, sections=(ROW.model_copy(update={"seats_per_row": 9}),))

        assert await show.statuses(users) == ["OFFERED", "WAITING"]
        assert await seating.counts(show.show_id) == (1, 8, 0, 0)
        await assert_consistent(seating, show.show_id)

    async def test_take_new_places_before_their_event_comes(self, embedded: SeatingService) -> None:
        show = await SoldOutShow.open(embedded)
        users = await show.waiting(1)

        await embedded.put_layout(show.show_id, ROW, SectionPlan(name="Floor", capacity=3))

        assert await show.statuses(users) == ["OFFERED"]
        assert await embedded.counts(show.show_id) == (2, 7, 0, 0)


class TestLeaving:
    async def test_moves_the_others_up(self, seating: SeatingService) -> None:
        show = await SoldOutShow.open(seating)
        first, second = await show.waiting(1, 1)

        left, again = [await show.leave(first) for _ in range(2)]

        assert (left.status_code, again.status_code) == (204, 204)
        assert (await show.entry(first))["status"] == "LEFT"
        assert (await show.entry(second))["position"] == 1
        await show.release(0)
        assert await show.statuses([first, second]) == ["LEFT", "OFFERED"]

    async def test_gives_an_offer_to_the_next_party(self, seating: SeatingService) -> None:
        show = await SoldOutShow.open(seating)
        first, second = await show.waiting(1, 1)
        await show.release(0)

        await show.leave(first)

        assert await show.statuses([first, second]) == ["LEFT", "OFFERED"]
        assert await seating.counts(show.show_id) == (0, 6, 0, 0)
        assert not [each for each in await seating.run.published() if isinstance(each, WaitlistLapsed)]

    async def test_without_an_entry_changes_nothing(self, embedded: SeatingService) -> None:
        show = await SoldOutShow.open(embedded)
        user = UserId.new()

        assert (await show.leave(user)).status_code == 204
        answer = await embedded.run.as_user(subject=user).get(f"/events/{show.show_id}/waitlist/me")
        assert (answer.status_code, answer.json()["code"]) == (404, "waitlist_entry_not_found")


class TestStoppedOffers:
    async def test_of_a_show_sold_out_by_hand_resume_when_it_is_reopened(self, seating: SeatingService) -> None:
        show = await SoldOutShow.open(seating)
        users = await show.waiting(1, 1)
        await seating.change(show.show_id, ShowStatusChanged, status="SOLD_OUT", sold_out_by_hand=True)

        await show.release(0)
        assert await show.statuses(users) == ["WAITING", "WAITING"]
        assert await seating.counts(show.show_id) == (1, 5, 0, 0)
        await seating.change(show.show_id, ShowStatusChanged, status="ON_SALE", sold_out_by_hand=False)

        assert await show.statuses(users) == ["OFFERED", "WAITING"]

    async def test_of_a_show_sold_out_by_hand_do_not_keep_users_from_joining(self, embedded: SeatingService) -> None:
        show = await SoldOutShow.open(embedded, 1)
        await embedded.change(show.show_id, ShowStatusChanged, status="SOLD_OUT", sold_out_by_hand=True)

        answer = await show.join(2)

        assert (answer.status_code, answer.json()["status"]) == (201, "WAITING")

    async def test_of_a_show_that_is_sold_out_by_itself_go_on(self, seating: SeatingService) -> None:
        show = await SoldOutShow.open(seating)
        users = await show.waiting(1)
        await seating.change(show.show_id, ShowStatusChanged, status="SOLD_OUT")

        await show.release(0)

        assert await show.statuses(users) == ["OFFERED"]

    async def test_after_the_sale_leave_places_free(self, seating: SeatingService) -> None:
        show = await SoldOutShow.open(seating)
        users = await show.waiting(1)
        await seating.change(show.show_id, sale_end_time=seating.run.clock.now())

        await show.release(0)

        assert await show.statuses(users) == ["WAITING"]
        assert await seating.counts(show.show_id) == (1, 5, 0, 0)

    @pytest.mark.parametrize("status", ["CANCELLED", "COMPLETED"])
    async def test_of_an_ended_show_end_its_list(self, seating: SeatingService, status: str) -> None:
        show = await SoldOutShow.open(seating)
        users = await show.waiting(1, 1)
        await show.release(0)

        await seating.change(show.show_id, ShowStatusChanged, status=status)
        await show.let_offers_end()

        assert await show.statuses(users) == ["LAPSED", "LAPSED"]


class TestList:
    async def test_shows_all_parties_in_order(self, seating: SeatingService) -> None:
        show = await SoldOutShow.open(seating)
        users = await show.waiting(1, 2, 1, 1)
        await show.release(0)
        await show.leave(users[2])
        path = f"/events/{show.show_id}/waitlist"

        answer = await seating.run.as_user("inventory:read").get(f"{path}?page=0&size=3")
        rest = await seating.run.as_user("inventory:read").get(f"{path}?page=1&size=3")

        found = [*answer.json()["entries"], *rest.json()["entries"]]
        assert [each["user_id"] for each in found] == users
        assert [(each["status"], each["position"]) for each in found] == [
            ("OFFERED", None),
            ("WAITING", 1),
            ("LEFT", None),
            ("WAITING", 2),
        ]
        assert answer.json()["page"] == {"number": 0, "size": 3, "total_elements": 4, "total_pages": 2}

    async def test_needs_a_permission(self, embedded: SeatingService) -> None:
        show = await SoldOutShow.open(embedded)

        answer = await embedded.run.as_user().get(f"/events/{show.show_id}/waitlist")

        assert (answer.status_code, answer.json()["permission"]) == (403, "inventory:read")
