import asyncio

from tests.services.events.support import EventsService


class TestAvailableSeats:
    async def test_are_at_most_a_second_old(self, embedded: EventsService) -> None:
        show_id = (await embedded.create())["event_id"]
        embedded.seating.totals[show_id] = 100
        found = []

        for taken in (0, 3, 3):
            embedded.seating.taken[show_id] = taken
            found.append((await embedded.read(show_id))["available_seats"])
            embedded.run.clock.advance(0.5)

        assert found == [100, 100, 97]
        assert len(embedded.seating.requests) == 2

    async def test_of_concurrent_readers_are_read_once(self, embedded: EventsService) -> None:
        show_id = (await embedded.create())["event_id"]
        embedded.seating.totals[show_id] = 100

        found = await asyncio.gather(*(embedded.read(show_id) for _ in range(20)))

        assert {each["available_seats"] for each in found} == {100}
        assert len(embedded.seating.requests) == 1

    async def test_of_a_show_without_seats_yet_are_all(self, embedded: EventsService) -> None:
        assert (await embedded.read((await embedded.create())["event_id"]))["available_seats"] == 100

    async def test_are_null_while_seating_cannot_be_reached(self, embedded: EventsService) -> None:
        show_id = (await embedded.create())["event_id"]
        embedded.seating.totals[show_id] = 100
        embedded.seating.is_down = True

        first = await embedded.read(show_id)
        again = await embedded.read(show_id)
        embedded.seating.is_down = False
        embedded.run.clock.advance(1)
        recovered = await embedded.read(show_id)

        assert [each["available_seats"] for each in (first, again, recovered)] == [None, None, 100]
        assert len(embedded.seating.requests) == 2
