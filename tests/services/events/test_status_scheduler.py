import asyncio
from typing import Any

import pytest
from tests.services.events.support import EventsService

from portico.kit import ServiceContext
from portico.services.events.repository import Shows
from portico.services.events.status_scheduler import StatusScheduler
from portico.testing.running_service import RESPONSE_TIMEOUT

MINUTE = 60.0
DAY = 86_400.0
START = "2026-01-05T10:00:00Z"
"""One hour after the clock of the tests starts."""


async def advance(events: EventsService, seconds: float = 0) -> int:
    events.run.clock.advance(seconds)
    return await events.run.context.resource(StatusScheduler).run_due()


async def next_due_at(events: EventsService) -> Any:
    async with events.run.context.reader() as reader:
        return await Shows(reader).next_due_at(events.run.clock.now())


async def statuses(events: EventsService, show_id: int) -> list[str]:
    return [each.status for each in await events.published(show_id)]


class TestSaleStart:
    async def test_puts_the_show_on_sale(self, events: EventsService) -> None:
        show_id = (await events.create(sale_start_time=START))["event_id"]
        assert (await next_due_at(events)).isoformat() == "2026-01-05T10:00:00+00:00"

        await advance(events, 60 * MINUTE - 1)
        before = (await events.read(show_id))["status"]
        await advance(events, 1)
        await advance(events)

        assert before == "UPCOMING"
        assert (await events.read(show_id))["status"] == "ON_SALE"
        [_, change] = await events.published(show_id)
        assert (change.previous_status, change.status, change.revision) == ("UPCOMING", "ON_SALE", 2)

    async def test_is_followed_also_if_it_has_passed(self, embedded: EventsService) -> None:
        show_id = (await embedded.create(sale_start_time="2026-01-01T10:00:00Z"))["event_id"]

        await advance(embedded)

        assert (await embedded.read(show_id))["status"] == "ON_SALE"

    async def test_is_ignored_if_the_sale_is_over_or_the_show_is_cancelled(self, events: EventsService) -> None:
        over = await events.create(sale_start_time=START, sale_end_time="2026-01-05T10:30:00Z")
        cancelled = await events.create(sale_start_time=START)
        await events.set_status(cancelled["event_id"], "CANCELLED")

        assert await advance(events, 90 * MINUTE) == 0

        assert (await events.read(over["event_id"]))["status"] == "UPCOMING"
        assert (await events.read(cancelled["event_id"]))["status"] == "CANCELLED"

    async def test_of_many_shows_is_followed_in_batches(self, embedded: EventsService) -> None:
        for _ in range(105):
            await embedded.create(sale_start_time=START)

        assert await advance(embedded, 60 * MINUTE) == 105

        assert len(await embedded.published()) == 210

    async def test_is_followed_once_by_concurrent_processes(self, events: EventsService) -> None:
        show_id = (await events.create(sale_start_time=START))["event_id"]
        events.run.clock.advance(60 * MINUTE)

        await asyncio.gather(*(advance(events) for _ in range(4)))

        assert await statuses(events, show_id) == ["UPCOMING", "ON_SALE"]


class TestCompletion:
    @pytest.mark.parametrize("status", ["UPCOMING", "ON_SALE", "SOLD_OUT"])
    async def test_comes_a_day_after_the_date(self, events: EventsService, status: str) -> None:
        show_id = (await events.create(event_date="2026-01-06T09:00:00Z"))["event_id"]
        for each in ["ON_SALE", "SOLD_OUT"][: ["UPCOMING", "ON_SALE", "SOLD_OUT"].index(status)]:
            await events.set_status(show_id, each)

        await advance(events, 2 * DAY - 1)
        before = (await events.read(show_id))["status"]
        await advance(events, 1)

        assert (before, (await events.read(show_id))["status"]) == (status, "COMPLETED")
        assert await next_due_at(events) is None

    async def test_comes_a_day_after_the_last_change_by_hand_if_that_is_later(self, events: EventsService) -> None:
        show_id = (await events.create(event_date="2026-01-01T09:00:00Z"))["event_id"]
        await advance(events, DAY / 2)
        await events.set_status(show_id, "ON_SALE")

        await advance(events, DAY - 1)
        before = (await events.read(show_id))["status"]
        await advance(events, 1)

        assert (before, (await events.read(show_id))["status"]) == ("ON_SALE", "COMPLETED")

    async def test_does_not_follow_a_cancellation(self, events: EventsService) -> None:
        show_id = (await events.create(event_date="2026-01-01T09:00:00Z"))["event_id"]
        await events.set_status(show_id, "CANCELLED")

        assert await advance(events, 10 * DAY) == 0
        assert (await events.read(show_id))["status"] == "CANCELLED"


class WatchedScheduler(StatusScheduler):
    """Sets `ran` after each look for shows that are due. The first look fails if `fails` is set."""

    def __init__(self, context: ServiceContext, *, fails: bool) -> None:
        super().__init__(context, poll=100 * RESPONSE_TIMEOUT)
        self.ran = asyncio.Event()
        self._fails = fails

    async def run_due(self) -> int:
        fails, self._fails = self._fails, False
        try:
            if fails:
                raise RuntimeError
            return await super().run_due()
        finally:
            self.ran.set()


@pytest.mark.parametrize("fails", [False, True])
async def test_a_change_of_this_process_wakes_the_scheduler(embedded: EventsService, *, fails: bool) -> None:
    scheduler = WatchedScheduler(embedded.run.context, fails=fails)
    running = asyncio.create_task(scheduler.run())
    try:
        async with asyncio.timeout(RESPONSE_TIMEOUT):
            await scheduler.ran.wait()
            show_id = (await embedded.create(sale_start_time="2026-01-01T10:00:00Z"))["event_id"]
            while (await embedded.read(show_id))["status"] != "ON_SALE":
                await scheduler.ran.wait()
                scheduler.ran.clear()
    finally:
        running.cancel()
