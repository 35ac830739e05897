from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.kit.messaging.leaving import ReaderLeft, Shelving, die, failed_rows, left, logged, waiting

from portico.kit.messaging.dead_letters import DeadLetterFilter, DeadLetters
from portico.kit.messaging.relay import Relay
from portico.testing.brokers import ScriptedBroker
from portico.testing.running_service import RunningService

BROKERS = DeadLetterFilter(kind="not_publishable")


@pytest.fixture
def broker() -> ScriptedBroker:
    return ScriptedBroker()


@pytest.fixture
def relay(library: RunningService, broker: ScriptedBroker) -> Relay:
    """Return the relay of a service whose events are dead after the second attempt."""
    return Relay(library.context, broker)


@pytest.fixture
def dead_letters(library: RunningService) -> DeadLetters:
    return DeadLetters(library.context.name, library.context.database, library.clock)


async def publish_events(library: RunningService, *events: ReaderLeft) -> None:
    async with library.context.transaction() as work:
        for event in events:
            work.publish(event)


async def try_twice(library: RunningService, relay: Relay) -> None:
    await relay.drain()
    library.clock.advance(5)
    await relay.drain()


def ids(*events: ReaderLeft) -> list[str]:
    return [event.message_id for event in events]


class TestRejectedEvents:
    async def test_a_rejected_event_is_dead_after_its_last_attempt(
        self, library: RunningService, relay: Relay, broker: ScriptedBroker, dead_letters: DeadLetters
    ) -> None:
        bad = left("Dune")
        await publish_events(library, bad)
        broker.refusing = {bad.message_id}

        await relay.drain()
        assert (await waiting(library), await dead_letters.count(DeadLetterFilter())) == (ids(bad), 0)
        library.clock.advance(5)
        with capture_logs() as lines:
            await relay.drain()

        [dead_letter] = await dead_letters.page(DeadLetterFilter())
        assert (dead_letter.kind, dead_letter.event_id, dead_letter.type, dead_letter.aggregate) == (
            "not_publishable",
            bad.message_id,
            "reader.left",
            "r1",
        )
        assert (dead_letter.attempts, dead_letter.cause, dead_letter.error) == (2, "Rejected", "refused")
        assert '"title":"Dune"' in dead_letter.body
        assert (await waiting(library), await logged(library)) == ([], [])
        assert [line["event_id"] for line in lines if line["event"] == "event_dead"] == [bad.message_id]

    async def test_a_rejected_event_does_not_wait_for_a_clock_that_was_set_back(
        self, library: RunningService, relay: Relay, broker: ScriptedBroker
    ) -> None:
        event = left("Dune")
        await publish_events(library, event)
        broker.refusing = {event.message_id}
        await relay.drain()
        broker.refusing = set()

        library.clock.set_back(3600)
        await relay.drain()

        assert (await waiting(library), await logged(library)) == ([], ids(event))

    async def test_later_events_of_the_aggregate_are_published_then(
        self, library: RunningService, relay: Relay, broker: ScriptedBroker
    ) -> None:
        before, bad, behind = left("Dune"), left("Emma"), left("Kim")
        await publish_events(library, before, bad, behind)
        broker.refusing = {bad.message_id}

        await relay.drain()
        assert (await logged(library), await waiting(library)) == (ids(before), ids(bad, behind))
        later, other = left("Ulysses"), left("Dune", "r2")
        await publish_events(library, later, other)
        await relay.drain()
        assert await logged(library) == ids(before, other)
        library.clock.advance(5)
        await relay.drain()

        assert await waiting(library) == []
        assert await logged(library) == ids(before, behind, later, other)
        assert {message.id for message in broker.stored} == set(ids(before, behind, later, other))

    async def test_attempts_are_counted_per_event(
        self, library: RunningService, relay: Relay, broker: ScriptedBroker, dead_letters: DeadLetters
    ) -> None:
        one, between, two = left("Dune"), left("Emma"), left("Kim")
        await publish_events(library, one, between, two)
        broker.refusing = set(ids(one, two))

        await try_twice(library, relay)
        assert [dead_letter.event_id for dead_letter in await dead_letters.page(DeadLetterFilter())] == ids(one)
        assert (await logged(library), await waiting(library)) == (ids(between), ids(two))
        library.clock.advance(5)
        await relay.drain()

        assert [(each.event_id, each.attempts) for each in await dead_letters.page(DeadLetterFilter())] == [
            (one.message_id, 2),
            (two.message_id, 2),
        ]
        assert await logged(library) == ids(between)

    async def test_attempts_of_a_published_event_do_not_count_for_the_next(
        self, library: RunningService, relay: Relay, broker: ScriptedBroker, dead_letters: DeadLetters
    ) -> None:
        one, two = left("Dune"), left("Emma")
        await publish_events(library, one)
        broker.refusing = set(ids(one, two))
        await relay.drain()
        broker.refusing = set(ids(two))
        await publish_events(library, two)
        library.clock.advance(5)
        await relay.drain()

        assert (await waiting(library), await dead_letters.count(DeadLetterFilter())) == (ids(two), 0)


class TestDeadLetters:
    @pytest.fixture
    async def dead(self, library: RunningService, relay: Relay, broker: ScriptedBroker) -> ReaderLeft:
        dead = left("Dune")
        await publish_events(library, dead)
        broker.refusing = {dead.message_id}
        await try_twice(library, relay)
        return dead

    async def test_a_replayed_dead_letter_is_published_unchanged(
        self, library: RunningService, relay: Relay, broker: ScriptedBroker, dead_letters: DeadLetters, dead: ReaderLeft
    ) -> None:
        broker.refusing = set()

        assert await dead_letters.replay(BROKERS, by="ann") == 1
        await relay.drain()

        [message] = broker.stored
        assert (message.id, message.key) == (dead.message_id, "r1")
        assert await _rows(library) == ([], ids(dead))

    async def test_a_replayed_dead_letter_that_is_rejected_again_starts_with_its_first_attempt(
        self, library: RunningService, relay: Relay, dead_letters: DeadLetters, dead: ReaderLeft
    ) -> None:
        await dead_letters.replay(DeadLetterFilter(), by="ann")
        await relay.drain()
        assert (await waiting(library), await failed_rows(library)) == (ids(dead), [])
        library.clock.advance(5)
        await relay.drain()

        assert [(row.event_id, row.attempts) for row in await failed_rows(library)] == [(dead.message_id, 2)]

    async def test_a_discarded_dead_letter_is_deleted(
        self, library: RunningService, dead_letters: DeadLetters, dead: ReaderLeft
    ) -> None:
        assert await dead_letters.discard(DeadLetterFilter(numbers=(1,)), by="ann") == 1
        assert await _rows(library) == ([], [])
        assert dead.message_id not in await waiting(library)

    async def test_rejected_and_failed_events_are_replayed_together(
        self, library: RunningService, dead_letters: DeadLetters, shelving: Shelving, dead: ReaderLeft
    ) -> None:
        shelving.failing = {"Emma"}
        await die(library, left("Emma"))

        assert await dead_letters.replay(DeadLetterFilter(), by="ann") == 2
        assert await waiting(library) == ids(dead)
        assert [row.state for row in await failed_rows(library)] == ["waiting"]


async def _rows(library: RunningService) -> tuple[list[Any], list[str]]:
    return await failed_rows(library), await logged(library)
