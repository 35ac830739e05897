from datetime import timedelta

import pytest
from structlog.testing import capture_logs
from tests.kit.messaging.leaving import Shelving, die, handled, left, parked

from portico.kit.messaging.brokers.base import Message
from portico.kit.messaging.dead_letters import DeadLetterFilter, DeadLetterNotFound, DeadLetters
from portico.kit.messaging.runtime import retry_due
from portico.testing.running_service import RunningService

ALL = DeadLetterFilter()


@pytest.fixture
def letters(library: RunningService) -> DeadLetters:
    return DeadLetters(library.context.name, library.context.database, library.clock)


class TestReading:
    async def test_returns_what_failed_and_why(
        self, library: RunningService, letters: DeadLetters, shelving: Shelving
    ) -> None:
        began = library.clock.now()
        shelving.failing = {"Dune"}
        event = left("Dune")
        await die(library, event)

        [letter] = await letters.page(ALL)

        assert (letter.consumer, letter.event_id, letter.type, letter.aggregate) == (
            "shelve-book-of-former-reader",
            event.event_id,
            "reader.left",
            "r1",
        )
        assert (letter.state, letter.attempts, letter.cause) == ("dead", 2, "shelf_full")
        assert (letter.error, letter.failed_at) == ("The shelf is full.", began)
        assert await letters.get(letter.number) == letter

    async def test_an_unreadable_message_is_kept_as_received(
        self, library: RunningService, letters: DeadLetters
    ) -> None:
        await library.inbox.deliver(Message("evt_1", "reader.left", "r1", b"not json"))

        [letter] = await letters.page(ALL)

        assert (letter.kind, letter.body, letter.cause) == ("unreadable", "not json", "NotAnEvent")

    async def test_filters_dead_letters(
        self, library: RunningService, letters: DeadLetters, shelving: Shelving
    ) -> None:
        shelving.failing = {"Dune", "Emma"}
        await die(library, left("Dune", "r1"))
        between = library.clock.now() + timedelta(seconds=1)
        library.clock.advance(2)
        await die(library, left("Emma", "r2"))
        await library.inbox.deliver(Message("evt_1", "reader.left", "r3", b"not json"))

        async def found(choice: DeadLetterFilter) -> list[str]:
            page = await letters.page(choice)
            assert await letters.count(choice) == len(page)
            return [letter.aggregate for letter in page]

        assert await found(ALL) == ["r1", "r2", "r3"]
        assert await found(DeadLetterFilter(consumer="shelve-book-of-former-reader")) == ["r1", "r2"]
        assert await found(DeadLetterFilter(cause="NotAnEvent")) == ["r3"]
        assert await found(DeadLetterFilter(aggregate="r2")) == ["r2"]
        assert await found(DeadLetterFilter(since=between)) == ["r2", "r3"]
        assert await found(DeadLetterFilter(type="reader.left", cause="shelf_full", since=between)) == ["r2"]
        assert await found(DeadLetterFilter(type="reader.came")) == []
        assert await found(DeadLetterFilter(state="waiting")) == []

    async def test_pages(self, library: RunningService, letters: DeadLetters) -> None:
        for number in range(5):
            await library.inbox.deliver(Message(f"evt_{number}", "reader.left", "r1", b"not json"))

        first = await letters.page(ALL, limit=3)
        rest = await letters.page(ALL, limit=3, after=first[-1].number)

        assert [letter.event_id for letter in first + rest] == [f"evt_{number}" for number in range(5)]

    async def test_an_unknown_number_is_not_found(self, letters: DeadLetters) -> None:
        with pytest.raises(DeadLetterNotFound, match="Dead letter 7 of loans not found"):
            await letters.get(7)


class TestReplay:
    async def test_a_replayed_dead_letter_starts_with_its_first_attempt(
        self, library: RunningService, letters: DeadLetters, shelving: Shelving
    ) -> None:
        shelving.failing = {"Dune"}
        await die(library, left("Dune"))

        assert await letters.replay(ALL, by="ann") == 1
        await retry_due(library.inbox)
        assert [(row.state, row.attempts) for row in await parked(library)] == [("waiting", 1)]

        shelving.failing = set()
        library.clock.advance(600)
        await retry_due(library.inbox)
        assert await parked(library) == []

    async def test_later_events_wait_behind_a_replayed_dead_letter(
        self, library: RunningService, letters: DeadLetters, shelving: Shelving
    ) -> None:
        shelving.failing = {"one", "two"}
        await die(library, left("one"), left("two"))
        shelving.failing, shelving.seen = set(), []

        await letters.replay(ALL, by="ann")
        await library.receives(left("three"))
        while await retry_due(library.inbox):
            pass

        assert shelving.seen == ["one", "two", "three"]
        assert await parked(library) == []

    async def test_only_matching_dead_letters_are_replayed(
        self, library: RunningService, letters: DeadLetters, shelving: Shelving
    ) -> None:
        shelving.failing = {"Dune", "Emma"}
        await die(library, left("Dune", "r1"), left("Emma", "r2"))
        dune, _ = await letters.page(ALL)

        assert await letters.replay(DeadLetterFilter(numbers=(dune.number,)), by="ann") == 1
        assert [letter.aggregate for letter in await letters.page(ALL)] == ["r2"]
        assert await letters.replay(DeadLetterFilter(numbers=(dune.number,)), by="ann") == 0  # it waits already


class TestDiscard:
    async def test_a_redelivery_of_a_discarded_dead_letter_has_no_effect(
        self, library: RunningService, letters: DeadLetters, shelving: Shelving
    ) -> None:
        shelving.failing = {"Dune"}
        event = left("Dune")
        await die(library, event)
        shelving.failing, shelving.seen = set(), []

        assert await letters.discard(ALL, by="ann") == 1
        await library.receives(event)

        assert (shelving.seen, await parked(library)) == ([], [])
        assert await handled(library) == {event.event_id}

    async def test_discarding_logs_the_operator(
        self, library: RunningService, letters: DeadLetters, shelving: Shelving
    ) -> None:
        shelving.failing = {"Dune"}
        event = left("Dune")
        await die(library, event)

        with capture_logs() as lines:
            await letters.discard(ALL, by="ann")

        [line] = [line for line in lines if line["event"] == "dead_letter_discarded"]
        assert (line["event_id"], line["cause"], line["by"]) == (event.event_id, "shelf_full", "ann")

    async def test_waiting_events_are_not_discarded(
        self, library: RunningService, letters: DeadLetters, shelving: Shelving
    ) -> None:
        shelving.failing = {"Dune"}
        await library.receives(left("Dune"))

        assert await letters.discard(ALL, by="ann") == 0
        assert [row.state for row in await parked(library)] == ["waiting"]

    async def test_more_dead_letters_than_a_batch(self, library: RunningService, letters: DeadLetters) -> None:
        for number in range(7):
            await library.inbox.deliver(Message(f"evt_{number}", "reader.left", "r1", b"not json"))

        assert await letters.discard(DeadLetterFilter(cause="NotAnEvent"), by="ann") == 7
        assert await letters.count(ALL) == 0
