from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from tests.kit.messaging.leaving import ReaderCame, Shelving, die, left, parked, tell

from portico.kit.messaging.log import EventLog, LoggedEvent, Selection
from portico.kit.messaging.replay import Replay
from portico.kit.messaging.runtime import retry_due
from portico.testing.databases import Databases
from portico.testing.running_service import RunningService, running

ALL = Selection()


@pytest.fixture
async def other(databases: Databases, shelving: Shelving) -> AsyncIterator[RunningService]:
    """Another service, with a database of its own, that consumes what `library` tells of."""
    service = replace(shelving.service(), name="shelves")
    async with running(service, databases, variables={"EVENT_ATTEMPTS": "2"}) as other:
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
    async def test_events_are_handled_in_their_order(
        self, library: RunningService, other: RunningService, log: EventLog, shelving: Shelving
    ) -> None:
        await tell(library, left("one"), ReaderCame(reader_id="r1"), left("two"), left("three"))

        assert await replay(other).of([log], ALL) == 3
        await retried(other)

        assert shelving.seen == ["one", "two", "three"]
        assert await parked(other) == []

    async def test_what_was_handled_is_not_handled_again(
        self, library: RunningService, other: RunningService, log: EventLog, shelving: Shelving
    ) -> None:
        one, two = left("one"), left("two")
        await tell(library, one, two)
        await other.receives(one)

        assert await replay(other).of([log], ALL) == 1
        await retried(other)

        assert shelving.seen == ["one", "two"]

    async def test_unless_it_is_to_be(
        self, library: RunningService, other: RunningService, log: EventLog, shelving: Shelving
    ) -> None:
        events = [left("one"), left("two")]
        await tell(library, *events)
        await other.receives(*events)

        assert await replay(other, again=True).of([log], ALL) == 2
        await retried(other)

        assert shelving.seen == ["one", "two", "one", "two"]

    async def test_a_dead_one_is_tried_again_in_its_place(
        self, library: RunningService, other: RunningService, log: EventLog, shelving: Shelving
    ) -> None:
        event = left("one")
        await tell(library, event)
        shelving.failing = {"one"}
        await die(other, event)
        shelving.failing, shelving.seen = set(), []

        await replay(other).of([log], ALL)
        await retried(other)

        assert (shelving.seen, await parked(other)) == (["one"], [])

    async def test_what_is_delivered_meanwhile_waits_behind(
        self, library: RunningService, other: RunningService, log: EventLog, shelving: Shelving
    ) -> None:
        await tell(library, left("one"), left("two"))

        await replay(other).of([log], ALL)
        await other.receives(left("three"))
        await retried(other)

        assert shelving.seen == ["one", "two", "three"]

    async def test_what_is_published_meanwhile_is_not_handled_again(
        self, library: RunningService, other: RunningService, shelving: Shelving
    ) -> None:
        meanwhile = [left(f"{number}") for number in range(4)]

        class Busy(EventLog):
            async def page(self, selection: Selection, **bounds: int) -> list[LoggedEvent]:
                if meanwhile:
                    for service in (library, other):
                        await tell(service, meanwhile.pop())
                return await super().page(selection, **bounds)

        await tell(library, left("one"))
        await tell(other, left("two"))
        logs = [Busy(service.context.database, service.clock) for service in (library, other)]

        assert await replay(other, again=True).of(logs, ALL) == 2
        await retried(other)

        assert shelving.seen == ["one", "two"]

    async def test_twice_is_once(
        self, library: RunningService, other: RunningService, log: EventLog, shelving: Shelving
    ) -> None:
        await tell(library, left("one"))

        await replay(other).of([log], ALL)
        await replay(other).of([log], ALL)
        await retried(other)

        assert shelving.seen == ["one"]

    async def test_knows_what_its_service_handles(self, other: RunningService) -> None:
        assert replay(other).types == {"reader.left"}
