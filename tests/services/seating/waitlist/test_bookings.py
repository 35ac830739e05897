from typing import Any

from tests.services.seating.support import SeatingService, assert_consistent
from tests.services.seating.waitlist.test_waitlist import OFFER, ROW, SoldOutShow

from portico.contracts.events import SectionPlan, ShowStatusChanged
from portico.contracts.seating import SalesExhausted, SalesResumed, WaitlistLapsed
from portico.kit import UserId


async def exhausted_show(seating: SeatingService, *quantities: int) -> SoldOutShow:
    """Return a show whose places are all sold."""
    show = await SoldOutShow.open(seating, *quantities)
    for hold in show.holds:
        await seating.sell(hold)
    return show


async def return_places(seating: SeatingService, hold: dict[str, Any]) -> None:
    """Return all sold places of a hold, as when its booking is cancelled."""
    places = [{"seat_id": each["seat_id"]} for each in hold["seats"]]
    answer = await seating.put(hold, "return", key="cancelled", places=places)
    assert answer.status_code == 200, answer.content


async def offer_of(show: SoldOutShow, user: str) -> dict[str, Any]:
    """Return the hold that a user is offered."""
    entry = await show.entry(user)
    hold_id = entry["hold_id"]
    answer = await show.seating.run.as_user(subject=user).get(f"/inventory/{show.show_id}/holds/{hold_id}")
    found: dict[str, Any] = answer.json()
    return found


async def sales_events(seating: SeatingService) -> list[type]:
    return [type(each) for each in await seating.run.published() if isinstance(each, SalesExhausted | SalesResumed)]


class TestReturnedPlaces:
    async def test_are_offered_to_the_oldest_party(self, seating: SeatingService) -> None:
        show = await exhausted_show(seating, 2, 4)
        await seating.change(show.show_id, ShowStatusChanged, status="SOLD_OUT")
        users = await show.waiting(2, 2)

        await return_places(seating, show.holds[0])

        assert await show.statuses(users) == ["OFFERED", "WAITING"]
        assert await seating.counts(show.show_id) == (0, 2, 4, 0)
        assert await sales_events(seating) == [SalesExhausted]
        await assert_consistent(seating, show.show_id)

    async def test_that_no_party_can_use_reopen_the_sale(self, seating: SeatingService) -> None:
        show = await exhausted_show(seating, 2, 4)
        await show.waiting(1)

        await return_places(seating, show.holds[0])

        assert await seating.counts(show.show_id) == (1, 1, 4, 0)
        assert await sales_events(seating) == [SalesExhausted, SalesResumed]

    async def test_of_a_booking_from_the_list_do_not_put_its_user_back(self, seating: SeatingService) -> None:
        show = await exhausted_show(seating, 6)
        first, second = await show.waiting(6, 1)
        await return_places(seating, show.holds[0])
        offer = await offer_of(show, first)
        await seating.sell(offer)

        await return_places(seating, offer)

        assert await show.statuses([first, second]) == ["BOOKED", "OFFERED"]


class TestBookedOffers:
    async def test_are_booked(self, seating: SeatingService) -> None:
        show = await SoldOutShow.open(seating)
        [user] = await show.waiting(1)
        await show.release(0)

        await seating.sell(await offer_of(show, user))
        await show.let_offers_end()

        entry = await show.entry(user)
        assert (entry["status"], entry["position"]) == ("BOOKED", None)
        assert not [each for each in await seating.run.published() if isinstance(each, WaitlistLapsed)]

    async def test_allow_their_users_to_join_again(self, embedded: SeatingService) -> None:
        show = await SoldOutShow.open(embedded)
        [user] = await show.waiting(1)
        await show.release(0)
        await embedded.sell(await offer_of(show, user))

        assert (await show.join(user=user)).status_code == 201

    async def test_that_are_being_paid_do_not_end(self, seating: SeatingService) -> None:
        show = await SoldOutShow.open(seating)
        [user] = await show.waiting(1)
        await show.release(0)
        await seating.put(await offer_of(show, user), "claim", user_id=user)

        left = await show.leave(user)
        await show.let_offers_end()

        assert (left.status_code, left.json()["code"]) == (409, "hold_in_use")
        assert (await offer_of(show, user))["status"] == "CLAIMED"
        assert await show.statuses([user]) == ["OFFERED"]

    async def test_whose_payment_fails_last_for_another_one(self, embedded: SeatingService) -> None:
        show = await SoldOutShow.open(embedded)
        [user] = await show.waiting(1)
        await show.release(0)
        offer = await offer_of(show, user)
        await embedded.put(offer, "claim", user_id=user)
        embedded.run.clock.advance(OFFER - 1)

        released = await embedded.put(offer, "release", keep=True)

        entry = await show.entry(user)
        assert (entry["status"], entry["expires_at"]) == ("OFFERED", released.json()["expires_at"])

    async def test_that_a_booking_gives_up_go_to_the_next_party(self, seating: SeatingService) -> None:
        show = await SoldOutShow.open(seating)
        first, second = await show.waiting(1, 1)
        await show.release(0)
        offer = await offer_of(show, first)
        await seating.put(offer, "claim", user_id=first)

        await seating.put(offer, "release", keep=False)

        assert await show.statuses([first, second]) == ["LAPSED", "OFFERED"]


class TestLargerHall:
    async def test_whose_places_the_list_takes_stays_exhausted(self, seating: SeatingService) -> None:
        show = await exhausted_show(seating, 6)
        users = await show.waiting(2, 1)

        await seating.change(show.show_id, sections=(ROW, SectionPlan(name="Floor", capacity=3)))

        assert await show.statuses(users) == ["OFFERED", "OFFERED"]
        assert await sales_events(seating) == [SalesExhausted]
        assert await seating.counts(show.show_id) == (0, 3, 6, 0)

    async def test_with_places_that_the_list_leaves_is_no_longer_exhausted(self, seating: SeatingService) -> None:
        show = await exhausted_show(seating, 6)
        await show.join(user=UserId.new())

        await seating.put_layout(show.show_id, ROW, SectionPlan(name="Floor", capacity=3))
        await seating.change(show.show_id, sections=(ROW, SectionPlan(name="Floor", capacity=3)))

        assert await sales_events(seating) == [SalesExhausted, SalesResumed]
