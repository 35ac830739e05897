"""Changes that involve events and seating, when a process dies or a call fails between them."""

import asyncio
from functools import partial
from typing import Any

import pytest
from tests.services.events.support import EventsService, Failure

from portico.contracts.events import ShowId
from portico.contracts.seating import SalesExhausted
from portico.services.events.jobs import finish_planned_changes
from portico.services.events.models import PlannedChange
from portico.services.events.planned_changes import ABANDONED_AFTER

ABANDONED = ABANDONED_AFTER.total_seconds()


async def run_job(events: EventsService) -> None:
    await finish_planned_changes.function(events.run.context)


async def is_planned(events: EventsService, show_id: int) -> bool:
    async with events.run.context.reader() as reader:
        return await reader.get(PlannedChange, ShowId(show_id)) is not None


async def plan(events: EventsService, show_id: int, changes: dict[str, Any] | None) -> None:
    """Leave a planned change, as a process does that dies before it calls seating."""
    await events.run.given(PlannedChange(event_id=ShowId(show_id), changes=changes, planned_at=events.run.clock.now()))


class Crash(Exception):
    """Ends a request after seating has taken over its change."""


async def crash() -> None:
    raise Crash


async def crash_after_seating(events: EventsService, request: Any) -> None:
    """Let a request die after its change took effect in seating."""
    events.seating.before_answer = crash
    assert (await request).status_code == 500


class TestCrashBetweenTheServices:
    async def test_a_repeat_continues_the_change(self, events: EventsService) -> None:
        show_id = (await events.create())["event_id"]
        await crash_after_seating(events, events.update(show_id, total_seats=150, event_name="Abba"))
        assert (events.seating.totals[show_id], (await events.read(show_id))["total_seats"]) == (150, 100)

        answer = await events.update(show_id, total_seats=150, event_name="Abba")

        assert (answer.status_code, answer.json()["total_seats"], answer.json()["event_name"]) == (200, 150, "Abba")
        assert events.seating.revisions[show_id] == 2
        assert [(each.event_type, each.revision) for each in await events.published()] == [
            ("event.created", 1),
            ("event.updated", 2),
        ]
        assert not await is_planned(events, show_id)

    async def test_a_job_finishes_the_change(self, events: EventsService) -> None:
        show_id = (await events.create())["event_id"]
        await crash_after_seating(events, events.update(show_id, total_seats=150))

        await run_job(events)
        before = (await events.read(show_id))["total_seats"]
        events.run.clock.advance(ABANDONED)
        await run_job(events)
        await run_job(events)

        assert (before, (await events.read(show_id))["total_seats"]) == (100, 150)
        assert len(await events.published()) == 2

    async def test_a_deletion_is_repeated_or_finished_by_a_job(self, events: EventsService) -> None:
        repeated, left = [(await events.create())["event_id"] for _ in range(2)]
        for show_id in (repeated, left):
            await crash_after_seating(events, events.delete(show_id))
            assert (await events.read(show_id))["event_id"] == show_id

        answer = await events.delete(repeated)
        events.run.clock.advance(ABANDONED)
        await run_job(events)

        assert answer.status_code == 204
        events.fails_with(await events.run.anonymous.get(f"/events/{left}"), 404, "event_not_found")
        deleted = [each.event_id for each in await events.published() if each.event_type == "event.deleted"]
        assert deleted == [repeated, left]

    async def test_another_change_waits_for_it_and_then_finishes_it(self, events: EventsService) -> None:
        show_id = (await events.create())["event_id"]
        await crash_after_seating(events, events.update(show_id, total_seats=150))

        waiting = await events.update(show_id, event_name="Abba")
        deletion = await events.delete(show_id)
        status = await events.set_status(show_id, "ON_SALE")
        events.run.clock.advance(ABANDONED)
        answer = await events.update(show_id, event_name="Abba")

        events.fails_with(waiting, 409, "change_in_progress")
        assert waiting.headers["retry-after"] == "1"
        events.fails_with(deletion, 409, "change_in_progress")
        assert status.status_code == 200
        changed = answer.json()
        assert (changed["event_name"], changed["total_seats"], changed["status"]) == ("Abba", 150, "ON_SALE")
        assert events.seating.revisions[show_id] == 3

    async def test_a_change_that_is_not_possible_any_more_is_dropped(self, events: EventsService) -> None:
        ended, used, in_use = [(await events.create())["event_id"] for _ in range(3)]
        await crash_after_seating(events, events.update(ended, total_seats=150))
        await events.set_status(ended, "CANCELLED")
        await plan(events, used, {"total_seats": 50})
        await plan(events, in_use, None)
        events.seating.taken.update({used: 60, in_use: 1})
        events.run.clock.advance(ABANDONED)

        await run_job(events)

        for show_id in (ended, used, in_use):
            assert (await events.read(show_id))["total_seats"] == 100
            assert not await is_planned(events, show_id)


class TestFailedCalls:
    async def test_nothing_happens_if_seating_cannot_be_reached(self, events: EventsService) -> None:
        created = await events.create()
        show_id = created["event_id"]
        for request in (partial(events.update, show_id, total_seats=150), partial(events.delete, show_id)):
            events.seating.failures = ["unreachable"]

            answer = await request()

            events.fails_with(answer, 503, "service_unavailable")
            assert not await is_planned(events, show_id)
        events.run.clock.advance(ABANDONED)
        await run_job(events)
        assert events.seating.totals == {}
        assert (await events.read(show_id))["total_seats"] == 100

    @pytest.mark.parametrize("failure", ["lost_before", "lost_after", "busy"])
    async def test_the_change_is_finished_later_if_its_outcome_is_unknown(
        self, embedded: EventsService, failure: Failure
    ) -> None:
        show_id = (await embedded.create())["event_id"]
        embedded.seating.failures = [failure]

        answer = await embedded.update(show_id, total_seats=150)
        embedded.run.clock.advance(ABANDONED)
        embedded.seating.failures = ["unreachable"]
        await run_job(embedded)
        still_planned = await is_planned(embedded, show_id)
        await run_job(embedded)

        assert answer.status_code in {502, 503}
        assert still_planned
        assert (await embedded.read(show_id))["total_seats"] == 150


class TestConcurrentChanges:
    async def test_a_change_during_the_call_is_kept_and_the_sections_get_the_next_revision(
        self, events: EventsService
    ) -> None:
        show_id = (await events.create(status="ON_SALE"))["event_id"]
        exhausted = SalesExhausted(event_id=show_id, number=1)
        events.seating.before_answer = partial(events.run.receives, exhausted)

        answer = await events.update(show_id, total_seats=150)

        assert (answer.json()["status"], answer.json()["total_seats"]) == ("SOLD_OUT", 150)
        assert len(events.seating.changes) == 2
        assert events.seating.revisions[show_id] == 3
        assert [(each.event_type, each.revision) for each in await events.published()] == [
            ("event.created", 1),
            ("event.status_changed", 2),
            ("event.updated", 3),
        ]

    async def test_a_show_that_ends_during_the_call_is_not_changed(self, embedded: EventsService) -> None:
        show_id = (await embedded.create())["event_id"]

        async def cancel() -> None:
            await embedded.set_status(show_id, "CANCELLED")

        embedded.seating.before_answer = cancel

        embedded.fails_with(await embedded.update(show_id, total_seats=150), 409, "event_ended")

        assert not await is_planned(embedded, show_id)

    async def test_concurrent_changes_of_sections_are_made_one_after_the_other(self, events: EventsService) -> None:
        show_id = (await events.create())["event_id"]

        answers = await asyncio.gather(*(events.update(show_id, total_seats=110 + each) for each in range(4)))

        made = [each for each in answers if each.status_code == 200]
        assert made
        assert {each.status_code for each in answers} <= {200, 409}
        show = await events.read(show_id)
        assert show["total_seats"] == events.seating.totals[show_id]
        assert events.seating.revisions[show_id] == 1 + len(made)
        assert len(await events.published()) == 1 + len(made)
