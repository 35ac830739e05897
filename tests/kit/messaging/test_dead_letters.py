from datetime import timedelta

import pytest
from structlog.testing import capture_logs
from tests.kit.messaging.leaving import Shelving, die, failed_rows, handled, left

from portico.kit.messaging.brokers.base import Message
from portico.kit.messaging.dead_letters import DeadLetterFilter, DeadLetterNotFound, DeadLetters
from portico.kit.messaging.runtime import retry_due
from portico.testing.running_service import RunningService

ALL = DeadLetterFilter()


@pytest.fixture
def dead_letters(library: RunningService) -> DeadLetters:
    return DeadLetters(library.context.name, library.context.database, library.clock)


class TestReading:
    async def test_returns_what_failed_and_why(
        self, library: RunningService, dead_letters: DeadLetters, shelving: Shelving
    ) -> None:
        began = library.clock.now()
        shelving.failing = {"Dune"}
        event = left("Dune")
        await die(library, event)

        [dead_letter] = await dead_letters.page(ALL)

        assert (dead_letter.consumer, dead_letter.event_id, dead_letter.type, dead_letter.aggregate) == (
            "shelve-book-of-former-reader",
            event.message_id,
            "reader.left",
            "r1",
        )
        assert (dead_letter.state, dead_letter.attempts, dead_letter.cause) == ("dead", 2, "shelf_full")
        assert (dead_letter.error, dead_letter.failed_at) == ("The shelf is full.", began)
        assert await dead_letters.get(dead_letter.number) == dead_letter

    async def test_an_unreadable_message_is_kept_as_received(
        self, library: RunningService, dead_letters: DeadLetters
    ) -> None:
        await library.inbox.deliver(Message("evt_1", "reader.left", "r1", b"not json"))

        [dead_letter] = await dead_letters.page(ALL)

        assert (dead_letter.kind, dead_letter.body, dead_letter.cause) == ("unreadable", "not json", "NotAnEvent")

    async def test_filters_dead_letters(
        self, library: RunningService, dead_letters: DeadLetters, shelving: Shelving
    ) -> None:
        shelving.failing = {"Dune", "Emma"}
        await die(library, left("Dune", "r1"))
        between = library.clock.now() + timedelta(seconds=1)
        library.clock.advance(2)
        await die(library, left("Emma", "r2"))
        await library.inbox.deliver(Message("evt_1", "reader.left", "r3", b"not json"))

        async def found(choice: DeadLetterFilter) -> list[str]:
            page = await dead_letters.page(choice)
            assert await dead_letters.count(choice) == len(page)
            return [dead_letter.aggregate for dead_letter in page]

        assert await found(ALL) == ["r1", "r2", "r3"]
        assert await found(DeadLetterFilter(consumer="shelve-book-of-former-reader")) == ["r1", "r2"]
        assert await found(DeadLetterFilter(cause="NotAnEvent")) == ["r3"]
        assert await found(DeadLetterFilter(aggregate="r2")) == ["r2"]
        assert await found(DeadLetterFilter(since=between)) == ["r2", "r3"]
        assert await found(DeadLetterFilter(type="reader.left", cause="shelf_full", since=between)) == ["r2"]
        assert await found(DeadLetterFilter(type="reader.came")) == []
        assert await found(DeadLetterFilter(state="waiting")) == []

    async def test_pages(self, library: RunningService, dead_letters: DeadLetters) -> None:
        for number in range(5):
            await library.inbox.deliver(Message(f"evt_{number}", "reader.left", "r1", b"not json"))

        first = await dead_letters.page(ALL, limit=3)
        rest = await dead_letters.page(ALL, limit=3, after=first[-1].number)

        assert [dead_letter.event_id for dead_letter in first + rest] == [f"evt_{number}" for number in range(5)]

    async def test_an_unknown_number_is_not_found(self, dead_letters: DeadLetters) -> None:
        with pytest.raises(DeadLetterNotFound, match="Dead letter 7 of loans not found"):
            await dead_letters.get(7)


class TestReplay:
    async def test_a_replayed_dead_letter_starts_with_its_first_attempt(
        self, library: RunningService, dead_letters: DeadLetters, shelving: Shelving
    ) -> None:
        shelving.failing = {"Dune"}
        await die(library, left("Dune"))

        assert await dead_letters.replay(ALL, by="ann") == 1
        await retry_due(library.inbox)
        assert [(row.state, row.attempts) for row in await failed_rows(library)] == [("waiting", 1)]

        shelving.failing = set()
        library.clock.advance(600)
        await retry_due(library.inbox)
        assert await failed_rows(library) == []

    async def test_later_events_wait_behind_a_replayed_dead_letter(
        self, library: RunningService, dead_letters: DeadLetters, shelving: Shelving
    ) -> None:
        shelving.failing = {"one", "two"}
        await die(library, left("one"), left("two"))
        shelving.failing, shelving.seen = set(), []

        await dead_letters.replay(ALL, by="ann")
        await library.receives(left("three"))
        while await retry_due(library.inbox):
            pass

        assert shelving.seen == ["one", "two", "three"]
        assert await failed_rows(library) == []

    async def test_only_matching_dead_letters_are_replayed(
        self, library: RunningService, dead_letters: DeadLetters, shelving: Shelving
    ) -> None:
        shelving.failing = {"Dune", "Emma"}
        await die(library, left("Dune", "r1"), left("Emma", "r2"))
        dune, _ = await dead_letters.page(ALL)

        assert await dead_letters.replay(DeadLetterFilter(numbers=(dune.number,)), by="ann") == 1
        assert [dead_letter.aggregate for dead_letter in await dead_letters.page(ALL)] == ["r2"]
        assert await dead_letters.replay(DeadLetterFilter(numbers=(dune.number,)), by="ann") == 0  # it waits already


class TestDiscard:
    async def test_a_redelivery_of_a_discarded_dead_letter_has_no_effect(
        self, library: RunningService, dead_letters: DeadLetters, shelving: Shelving
    ) -> None:
        shelving.failing = {"Dune"}
        event = left("Dune")
        await die(library, event)
        shelving.failing, shelving.seen = set(), []

        assert await dead_letters.discard(ALL, by="ann") == 1
        await library.receives(event)

        assert (shelving.seen, await failed_rows(library)) == ([], [])
        assert await handled(library) == {event.message_id}

    async def test_discarding_logs_the_operator(
        self, library: RunningService, dead_letters: DeadLetters, shelving: Shelving
    ) -> None:
        shelving.failing = {"Dune"}
        event = left("Dune")
        await die(library, event)

        with capture_logs() as lines:
            await dead_letters.discard(ALL, by="ann")

        [line] = [line for line in lines if line["event"] == "dead_letter_discarded"]
        assert (line["event_id"], line["cause"], line["by"]) == (event.message_id, "shelf_full", "ann")

    async def test_waiting_events_are_not_discarded(
        self, library: RunningService, dead_letters: DeadLetters, shelving: Shelving
    ) -> None:
        shelving.failing = {"Dune"}
        await library.receives(left("Dune"))

        assert await dead_letters.discard(ALL, by="ann") == 0
        assert [row.state for row in await failed_rows(library)] == ["waiting"]

    async def test_more_dead_letters_than_a_batch(self, library: RunningService, dead_letters: DeadLetters) -> None:
        for number in range(7):
            await library.inbox.deliver(Message(f"evt_{number}", "reader.left", "r1", b"not json"))

        assert await dead_letters.discard(DeadLetterFilter(cause="NotAnEvent"), by="ann") == 7
        assert await dead_letters.count(ALL) == 0
