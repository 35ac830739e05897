import asyncio
from datetime import timedelta
from itertools import pairwise

import pytest
from sqlalchemy import delete, insert
from tests.kit.messaging.leaving import ReaderCame, left, logged, publish_events, waiting

from portico.kit.data.kit_tables import event_log, outbox
from portico.kit.messaging import batches
from portico.kit.messaging.batches import in_batches
from portico.kit.messaging.log import EventFilter, EventLog, LoggedEvent
from portico.kit.messaging.relay import Relay
from portico.testing.brokers import ScriptedBroker
from portico.testing.running_service import RunningService

ALL = EventFilter()


@pytest.fixture
def log(library: RunningService) -> EventLog:
    return EventLog(library.context.database, library.clock)


def ids(events: list[LoggedEvent]) -> list[str]:
    return [event.event_id for event in events]


class TestReading:
    async def test_returns_every_field_of_an_event(self, library: RunningService, log: EventLog) -> None:
        event = left("Dune")
        await publish_events(library, event)

        [found] = await log.page(ALL)

        assert (found.event_id, found.type, found.aggregate) == (event.message_id, "reader.left", "r1")
        assert found.occurred_at == library.clock.now()
        assert (found.envelope.data, found.envelope.source) == (event.model_dump(), "/catalog/loans")

    async def test_filters_events(self, library: RunningService, log: EventLog) -> None:
        began = library.clock.now()
        one, two, three = left("one", "r1"), left("two", "r2"), ReaderCame(reader_id="r2")
        for event in (one, two, three):
            await publish_events(library, event)
            library.clock.advance(10)

        async def found(selection: EventFilter) -> list[str]:
            page = await log.page(selection)
            assert await log.count(selection) == len(page)
            return ids(page)

        assert await found(ALL) == [one.message_id, two.message_id, three.message_id]
        assert await found(EventFilter(types=("reader.left",))) == [one.message_id, two.message_id]
        assert await found(EventFilter(types=("reader.left", "reader.came"), aggregate="r2")) == ids_of(two, three)
        assert await found(EventFilter(event_ids=(two.message_id,))) == [two.message_id]
        assert await found(EventFilter(since=began + timedelta(seconds=10))) == ids_of(two, three)
        assert await found(EventFilter(until=began + timedelta(seconds=10))) == [one.message_id]

    async def test_pages_from_both_ends(self, library: RunningService, log: EventLog) -> None:
        events = [left(str(number)) for number in range(5)]
        await publish_events(library, *events)

        first = await log.page(ALL, limit=3)
        rest = await log.page(ALL, limit=3, after=first[-1].number)

        assert ids(first + rest) == ids_of(*events)
        assert ids(await log.newest(ALL, limit=2)) == ids_of(*events[3:])


def ids_of(*events: object) -> list[str]:
    return [event.message_id for event in events]  # type: ignore[attr-defined]


class TestFollow:
    async def test_returns_each_new_event_once(self, library: RunningService, log: EventLog) -> None:
        await publish_events(library, left("before"))
        follower = await log.follow(ALL)
        events = [left("one"), left("two")]

        assert await follower.new_events() == []
        await publish_events(library, *events)
        assert ids(await follower.new_events()) == ids_of(*events)
        assert await follower.new_events() == []

    async def test_only_matching_events(self, library: RunningService, log: EventLog) -> None:
        follower = await log.follow(EventFilter(types=("reader.came",)))
        came = ReaderCame(reader_id="r1")

        await publish_events(library, left("one"), came)

        assert ids(await follower.new_events()) == [came.message_id]

    async def test_an_event_that_commits_late_is_not_missed(self, library: RunningService, log: EventLog) -> None:
        await _logged_as(library, 50)
        follower = await log.follow(ALL)
        await _logged_as(library, 49)

        assert [event.number for event in await follower.new_events()] == [49]
        assert await follower.new_events() == []

    async def test_an_event_that_the_broker_rejected_for_long_is_not_missed(
        self, library: RunningService, log: EventLog
    ) -> None:
        async with library.context.transaction() as work:
            await work.execute(insert(outbox).values(_row(library, 1)))
        follower = await log.follow(ALL)
        await _logged_as(library, 5000)
        await follower.new_events()
        async with library.context.transaction() as work:
            await work.execute(delete(outbox))
        await _logged_as(library, 1)

        assert [event.number for event in await follower.new_events()] == [1]
        assert await follower.new_events() == []

    async def test_any_number_of_new_events_is_returned(self, library: RunningService, log: EventLog) -> None:
        follower = await log.follow(ALL)
        async with library.context.transaction() as work:
            await work.execute(insert(event_log), [_row(library, number) for number in range(1, 7001)])

        new_events = [event.number for _ in range(6) for event in await follower.new_events()]

        assert new_events == list(range(1, 7001))


def _row(library: RunningService, number: int) -> dict[str, object]:
    return {
        "id": number,
        "event_id": f"evt_{number}",
        "type": "reader.left",
        "aggregate": "r1",
        "body": "{}",
        "occurred_at": library.clock.now(),
    }


async def _logged_as(library: RunningService, number: int) -> None:
    async with library.context.transaction() as work:
        await work.execute(insert(event_log).values(_row(library, number)))


class TestPublishAgain:
    async def test_events_are_published_again_in_order(self, library: RunningService, log: EventLog) -> None:
        events = [left("one"), left("two", "r2"), left("three")]
        await publish_events(library, *events)

        assert await log.publish_again(EventFilter(aggregate="r1")) == 2

        assert await waiting(library) == ids_of(events[0], events[2])
        assert await logged(library) == [events[1].message_id]
        broker = ScriptedBroker()
        await Relay(library.context, broker).drain()
        assert [message.id for message in broker.stored] == ids_of(events[0], events[2])
        assert await log.count(ALL) == 3

    async def test_ends_while_the_relay_publishes_the_same_events(self, library: RunningService, log: EventLog) -> None:
        await publish_events(library, *(left(str(number)) for number in range(1200)))
        relay = Relay(library.context, ScriptedBroker())

        async def relaying() -> None:
            while True:
                await relay.drain()
                await asyncio.sleep(0)

        task = asyncio.create_task(relaying())
        try:
            assert await asyncio.wait_for(log.publish_again(ALL), 60) == 1200
        finally:
            task.cancel()
            await asyncio.wait([task])
        await relay.drain()
        assert len(set(await logged(library))) == 1200


class TestBatches:
    async def test_no_transaction_is_larger_than_a_batch(self, library: RunningService) -> None:
        done: list[list[int]] = []

        async def batch(after: int, _work: object) -> list[int]:
            done.append(list(range(after + 1, min(after + batches.BATCH, 1100) + 1)))
            return done[-1]

        assert await in_batches(library.context.database, library.clock, batch) == 1100
        assert [len(each) for each in done] == [500, 500, 100, 0]
        assert all(before[-1] + 1 == after[0] for before, after in pairwise(done[:-1]))
