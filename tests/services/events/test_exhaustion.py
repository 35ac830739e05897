from typing import Any

from tests.services.events.support import NO_SHOW, EventsService

from portico.contracts.seating import SalesExhausted, SalesResumed
from portico.services.events.status_scheduler import StatusScheduler


async def show_on_sale(events: EventsService, **changes: Any) -> Any:
    return (await events.create(**{"status": "ON_SALE", **changes}))["event_id"]


async def status_of(events: EventsService, show_id: int) -> str:
    status: str = (await events.read(show_id))["status"]
    return status


class TestExhaustion:
    async def test_changes_the_show_to_sold_out_and_back(self, events: EventsService) -> None:
        show_id = await show_on_sale(events)

        await events.run.receives(SalesExhausted(event_id=show_id, number=1))
        sold_out = await status_of(events, show_id)
        await events.run.receives(SalesResumed(event_id=show_id, number=2))

        assert (sold_out, await status_of(events, show_id)) == ("SOLD_OUT", "ON_SALE")
        published = await events.published(show_id)
        assert [(each.status, each.sold_out_by_hand, each.revision) for each in published] == [
            ("ON_SALE", False, 1),
            ("SOLD_OUT", False, 2),
            ("ON_SALE", False, 3),
        ]

    async def test_ignores_messages_that_come_late_or_twice(self, events: EventsService) -> None:
        show_id = await show_on_sale(events)

        for message in (
            SalesResumed(event_id=show_id, number=2),
            SalesExhausted(event_id=show_id, number=1),
            SalesExhausted(event_id=show_id, number=2),
            SalesExhausted(event_id=NO_SHOW, number=1),
        ):
            await events.run.receives(message)

        assert await status_of(events, show_id) == "ON_SALE"

    async def test_leaves_a_show_that_an_administrator_set_sold_out(self, events: EventsService) -> None:
        show_id = await show_on_sale(events)
        await events.set_status(show_id, "SOLD_OUT")

        await events.run.receives(SalesExhausted(event_id=show_id, number=1))
        await events.run.receives(SalesResumed(event_id=show_id, number=2))

        assert await status_of(events, show_id) == "SOLD_OUT"
        assert (await events.published(show_id))[-1].sold_out_by_hand is True

    async def test_leaves_a_show_that_was_reopened_until_seats_are_sold_again(self, embedded: EventsService) -> None:
        show_id = await show_on_sale(embedded)
        await embedded.run.receives(SalesExhausted(event_id=show_id, number=1))

        answer = await embedded.set_status(show_id, "ON_SALE", reopen=True)
        await embedded.run.receives(SalesResumed(event_id=show_id, number=2))
        await embedded.run.receives(SalesExhausted(event_id=show_id, number=3))

        assert answer.json()["status"] == "ON_SALE"
        assert await status_of(embedded, show_id) == "SOLD_OUT"

    async def test_by_a_presale_shows_once_the_show_is_on_sale(self, events: EventsService) -> None:
        by_hand = (await events.create())["event_id"]
        by_clock = (await events.create(sale_start_time="2026-01-05T09:00:00Z"))["event_id"]
        for show_id in (by_hand, by_clock):
            await events.run.receives(SalesExhausted(event_id=show_id, number=1))
        assert await status_of(events, by_hand) == "UPCOMING"

        answer = await events.set_status(by_hand, "ON_SALE")
        await events.run.context.resource(StatusScheduler).run_due()

        assert answer.json()["status"] == "SOLD_OUT"
        for show_id in (by_hand, by_clock):
            assert [each.status for each in await events.published(show_id)] == ["UPCOMING", "ON_SALE", "SOLD_OUT"]

    async def test_leaves_shows_that_have_ended(self, embedded: EventsService) -> None:
        show_id = await show_on_sale(embedded)
        await embedded.set_status(show_id, "CANCELLED")

        await embedded.run.receives(SalesExhausted(event_id=show_id, number=1))

        assert await status_of(embedded, show_id) == "CANCELLED"
