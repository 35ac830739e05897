from sqlalchemy import insert
from tests.kit.messaging.leaving import handled, left, logged, publish_events

from portico.kit.data.kit_tables import inbox
from portico.kit.messaging.batches import BATCH
from portico.kit.messaging.retention import MARGIN, delete_handled_events, delete_old_events
from portico.kit.runtime.kit_jobs import KIT_JOBS
from portico.testing.running_service import RunningService

WEEK = 604_800.0


class TestRetention:
    async def test_events_are_kept_for_the_configured_time(self, library: RunningService) -> None:
        old, young = left("old"), left("young")
        await publish_events(library, old)
        library.clock.advance(WEEK - 10)
        await publish_events(library, young)

        await delete_old_events(library.context)
        assert await logged(library) == [old.message_id, young.message_id]

        library.clock.advance(11)
        await delete_old_events(library.context)
        assert await logged(library) == [young.message_id]

    async def test_handled_ids_outlive_the_events_that_can_be_replayed(self, library: RunningService) -> None:
        event = left("old")
        await library.receives(event)
        library.clock.advance(WEEK + 1)
        await delete_handled_events(library.context)
        assert await handled(library) == {event.message_id}

        library.clock.advance(MARGIN.total_seconds())
        await delete_handled_events(library.context)
        assert await handled(library) == set()

    async def test_any_number_of_events_is_deleted(self, library: RunningService) -> None:
        async with library.context.transaction() as work:
            rows = [
                {"consumer": "shelve", "event_id": f"evt_{number}", "handled_at": work.now}
                for number in range(2 * BATCH + 1)
            ]
            await work.execute(insert(inbox), rows)
        library.clock.advance(2 * WEEK)

        await delete_handled_events(library.context)

        assert await handled(library) == set()

    def test_every_service_has_the_retention_jobs(self) -> None:
        assert {delete_old_events, delete_handled_events} <= {job.function for job in KIT_JOBS}
