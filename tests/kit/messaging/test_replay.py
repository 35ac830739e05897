from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from tests.kit.messaging.leaving import ReaderCame, Shelving, die, failed_rows, left, publish_events

from portico.kit.messaging.log import EventFilter, EventLog, LoggedEvent
from portico.kit.messaging.replay import Replay
from portico.kit.messaging.runtime import retry_due
from portico.testing.databases import Databases
from portico.testing.running_service import RunningService, run_service

ALL = EventFilter()


@pytest.fixture
async def other(databases: Databases, shelving: Shelving) -> AsyncIterator[RunningService]:
    """Run another service, with its own database, that consumes the events of `library`."""
    service = replace(shelving.service(), name="shelves")
    async with run_service(service, databases, variables={"EVENT_ATTEMPTS": "2"}) as other:
        yield other


@pytest.fixture
def log(library: RunningService) -> EventLog:
    return EventLog(library.context.database, library.clock)


def replay(service: RunningService, *, again: bool = False) -> Replay:
    return Replay(service.context.service.consumers, service.context.database, service.clock, again=again)


async def retried(service: RunningService) -> None:
    while await retry_due(service.inbox):
        pass


class TestReplay:
    async def test_replayed_events_are_handled_in_order(
        self, library: RunningService, other: RunningService, log: EventLog, shelving: Shelving
    ) -> None:
        await publish_events(library, left("one"), ReaderCame(reader_id="r1"), left("two"), left("three"))

        assert await replay(other).of([log], ALL) == 3
        await retried(other)

        assert shelving.seen == ["one", "two", "three"]
        assert await failed_rows(other) == []

    async def test_handled_events_are_not_handled_again(
        self, library: RunningService, other: RunningService, log: EventLog, shelving: Shelving
    ) -> None:
        one, two = left("one"), left("two")
        await publish_events(library, one, two)
        await other.receives(one)

        assert await replay(other).of([log], ALL) == 1
        await retried(other)

        assert shelving.seen == ["one", "two"]

    async def test_handled_events_are_handled_again_on_request(
        self, library: RunningService, other: RunningService, log: EventLog, shelving: Shelving
    ) -> None:
        events = [left("one"), left("two")]
        await publish_events(library, *events)
        await other.receives(*events)

        assert await replay(other, again=True).of([log], ALL) == 2
        await retried(other)

        assert shelving.seen == ["one", "two", "one", "two"]

    async def test_a_dead_event_is_retried_in_its_place(
        self, library: RunningService, other: RunningService, log: EventLog, shelving: Shelving
    ) -> None:
        event = left("one")
        await publish_events(library, event)
        shelving.failing = {"one"}
        await die(other, event)
        shelving.failing, shelving.seen = set(), []

        await replay(other).of([log], ALL)
        await retried(other)

        assert (shelving.seen, await failed_rows(other)) == (["one"], [])

    async def test_events_delivered_during_a_replay_wait_behind_it(
        self, library: RunningService, other: RunningService, log: EventLog, shelving: Shelving
    ) -> None:
        await publish_events(library, left("one"), left("two"))

        await replay(other).of([log], ALL)
        await other.receives(left("three"))
        await retried(other)

        assert shelving.seen == ["one", "two", "three"]

    async def test_events_published_during_a_replay_are_not_replayed(
        self, library: RunningService, other: RunningService, shelving: Shelving
    ) -> None:
        meanwhile = [left(f"{number}") for number in range(4)]

        class Busy(EventLog):
            async def page(self, selection: EventFilter, **bounds: int) -> list[LoggedEvent]:
                if meanwhile:
                    for service in (library, other):
                        await publish_events(service, meanwhile.pop())
                return await super().page(selection, **bounds)

        await publish_events(library, left("one"))
        await publish_events(other, left("two"))
        logs = [Busy(service.context.database, service.clock) for service in (library, other)]

        assert await replay(other, again=True).of(logs, ALL) == 2
        await retried(other)

        assert shelving.seen == ["one", "two"]

    async def test_replaying_twice_has_one_effect(
        self, library: RunningService, other: RunningService, log: EventLog, shelving: Shelving
    ) -> None:
        await publish_events(library, left("one"))

        await replay(other).of([log], ALL)
        await replay(other).of([log], ALL)
        await retried(other)

        assert shelving.seen == ["one"]

    async def test_knows_the_event_types_that_its_service_handles(self, other: RunningService) -> None:
        assert replay(other).types == {"reader.left"}
