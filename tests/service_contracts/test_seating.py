from collections.abc import AsyncIterator
from decimal import Decimal

import pytest
from tests.services.seating.support import BALCONY, FLOOR, HALL, SeatingService, open_seating

from portico.contracts.bookings import BookingId
from portico.contracts.events import ShowId
from portico.contracts.seating import Availability, HoldId, SeatingClient
from portico.kit import Money, UserId
from portico.kit.calls.client import Calls
from portico.kit.calls.errors import Refused
from portico.testing.databases import Databases

PRICE = Money.of(Decimal("49.50"), "USD")


@pytest.fixture
async def seating(sqlite_databases: Databases) -> AsyncIterator[SeatingService]:
    async with open_seating(sqlite_databases) as seating:
        yield seating


def client_of(seating: SeatingService) -> SeatingClient:
    """Return the client as another service uses it."""
    return Calls(seating.run.channel, identity=seating.run.issuer.token("service:bookings"))(SeatingClient)


class TestShows:
    async def test_availability_of_many_shows(self, seating: SeatingService) -> None:
        show_id = await seating.show()
        asked = [ShowId.new() for _ in range(150)] + [show_id]

        found = await client_of(seating).availability(asked)

        assert found == {show_id: Availability(event_id=show_id, available=24, used=0)}

    async def test_layouts(self, seating: SeatingService) -> None:
        show_id = await seating.show()
        client = client_of(seating)
        hold = await client.take_hold(HoldId.new(), show_id, UserId.new(), quantity=3, section="Balcony")

        grown = await client.apply_layout(
            show_id, [*HALL, FLOOR.model_copy(update={"name": "Back"})], PRICE, revision=2
        )
        with pytest.raises(Refused) as shrunk:
            await client.apply_layout(show_id, [BALCONY.model_copy(update={"seats_per_row": 1})], PRICE, revision=3)
        with pytest.raises(Refused) as retired:
            await client.retire(show_id, revision=3)

        assert (grown.available, grown.used) == (31, hold.quantity)
        assert (shrunk.value.code, retired.value.code) == ("seats_in_use", "event_in_use")

    async def test_retirement(self, seating: SeatingService) -> None:
        show_id = await seating.show()

        await client_of(seating).retire(show_id, revision=2)

        assert await client_of(seating).availability([show_id]) == {}


class TestHolds:
    async def test_are_taken_claimed_sold_and_returned(self, seating: SeatingService) -> None:
        show_id, user, booking = await seating.show(), UserId.new(), BookingId.new()
        client, hold_id = client_of(seating), HoldId.new()

        taken = await client.take_hold(hold_id, show_id, user, seats=["1-B-1", "1-B-2"])
        claimed = await client.claim(hold_id, show_id, booking_id=booking, user_id=user)
        sold = await client.sell(hold_id, show_id, booking_id=booking)
        await client.return_places(hold_id, show_id, booking_id=booking, key="k", places=[{"seat_id": "1-B-1"}])

        assert [each.status for each in (taken, claimed, sold)] == ["ACTIVE", "CLAIMED", "SOLD"]
        assert [(each.seat_id, each.price) for each in sold.places] == [
            ("1-B-1", Decimal(80)),
            ("1-B-2", Decimal(80)),
        ]
        assert (sold.amount, sold.discount, sold.currency) == (Decimal(160), Decimal(0), "USD")
        assert await seating.counts(show_id) == (23, 0, 1, 0)

    async def test_are_read_and_released_for_their_user(self, seating: SeatingService) -> None:
        show_id, user = await seating.show(), UserId.new()
        client, hold_id = client_of(seating), HoldId.new()
        taken = await client.take_hold(hold_id, show_id, user, quantity=2, section="Floor")

        assert await client.hold(hold_id, show_id, user_id=user) == taken
        with pytest.raises(Refused) as of_another:
            await client.hold(hold_id, show_id, user_id=UserId.new())
        await client.release(hold_id, show_id, user_id=user)

        assert of_another.value.code == "hold_not_found"
        assert (await client.hold(hold_id, show_id, user_id=user)).status == "RELEASED"
        assert await seating.counts(show_id) == (24, 0, 0, 0)

    async def test_are_given_back(self, seating: SeatingService) -> None:
        show_id, user, booking = await seating.show(), UserId.new(), BookingId.new()
        client, hold_id = client_of(seating), HoldId.new()
        await client.take_hold(hold_id, show_id, user, quantity=2, section="Floor")
        await client.claim(hold_id, show_id, booking_id=booking, user_id=user)

        kept = await client.release_claim(hold_id, show_id, booking_id=booking, keep=True)
        other = BookingId.new()
        await client.claim(hold_id, show_id, booking_id=other, user_id=user)
        given_back = await client.release_claim(hold_id, show_id, booking_id=other, keep=False)

        assert (kept.status, given_back.status) == ("ACTIVE", "RELEASED")
        assert [each.seat_id for each in given_back.places] == [None, None]

    async def test_refusals_carry_their_problem(self, seating: SeatingService) -> None:
        show_id = await seating.show()
        with pytest.raises(Refused) as refused:
            await client_of(seating).take_hold(HoldId.new(), show_id, UserId.new(), quantity=9)

        assert (refused.value.status, refused.value.code) == (409, "seat_limit_reached")
        assert refused.value.problem["limit"] == 8
