from datetime import timedelta

import pytest
from structlog.testing import capture_logs
from tests.kit.messaging.leaving import Shelving, die, handled, left, parked

from portico.kit.messaging.brokers.base import Message
from portico.kit.messaging.dead_letters import Choice, DeadLetters, NoSuchDeadLetter
from portico.kit.messaging.runtime import retry_due
from portico.testing.running_service import RunningService

ALL = Choice()


@pytest.fixture
def letters(library: RunningService) -> DeadLetters:
    return DeadLetters(library.context.name, library.context.database, library.clock)


class TestReading:
    async def test_tells_what_failed_and_why(
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

    async def test_what_nobody_could_read_is_kept_as_it_came(
        self, library: RunningService, letters: DeadLetters
    ) -> None:
        await library.inbox.deliver(Message("evt_1", "reader.left", "r1", b"not json"))

        [letter] = await letters.page(ALL)

        assert (letter.kind, letter.body, letter.cause) == ("unreadable", "not json", "NotAnEvent")

    async def test_those_that_are_asked_for(
        self, library: RunningService, letters: DeadLetters, shelving: Shelving
    ) -> None:
        shelving.failing = {"Dune", "Emma"}
        await die(library, left("Dune", "r1"))
        between = library.clock.now() + timedelta(seconds=1)
        library.clock.advance(2)
        await die(library, left("Emma", "r2"))
        await library.inbox.deliver(Message("evt_1", "reader.left", "r3", b"not json"))

        async def found(choice: Choice) -> list[str]:
            page = await letters.page(choice)
            assert await letters.count(choice) == len(page)
            return [letter.aggregate for letter in page]

        assert await found(ALL) == ["r1", "r2", "r3"]
        assert await found(Choice(consumer="shelve-book-of-former-reader")) == ["r1", "r2"]
        assert await found(Choice(cause="NotAnEvent")) == ["r3"]
        assert await found(Choice(aggregate="r2")) == ["r2"]
        assert await found(Choice(since=between)) == ["r2", "r3"]
        assert await found(Choice(type="reader.left", cause="shelf_full", since=between)) == ["r2"]
        assert await found(Choice(type="reader.came")) == []
        assert await found(Choice(state="waiting")) == []

    async def test_in_pages(self, library: RunningService, letters: DeadLetters) -> None:
        for number in range(5):
            await library.inbox.deliver(Message(f"evt_{number}", "reader.left", "r1", b"not json"))

        first = await letters.page(ALL, limit=3)
        rest = await letters.page(ALL, limit=3, after=first[-1].number)

        assert [letter.event_id for letter in first + rest] == [f"evt_{number}" for number in range(5)]

    async def test_one_that_is_not_there(self, letters: DeadLetters) -> None:
        with pytest.raises(NoSuchDeadLetter, match="loans has no dead letter 7"):
            await letters.get(7)


class TestReplay:
    async def test_it_is_tried_again_from_the_first_try_on(
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

    async def test_what_comes_meanwhile_waits_behind_it(
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

    async def test_only_what_was_chosen(
        self, library: RunningService, letters: DeadLetters, shelving: Shelving
    ) -> None:
        shelving.failing = {"Dune", "Emma"}
        await die(library, left("Dune", "r1"), left("Emma", "r2"))
        dune, _ = await letters.page(ALL)

        assert await letters.replay(Choice(numbers=(dune.number,)), by="ann") == 1
        assert [letter.aggregate for letter in await letters.page(ALL)] == ["r2"]
        assert await letters.replay(Choice(numbers=(dune.number,)), by="ann") == 0  # it waits already


class TestDiscard:
    async def test_it_is_gone_and_no_redelivery_brings_it_back(
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

    async def test_it_is_told_in_the_log_by_whom(
        self, library: RunningService, letters: DeadLetters, shelving: Shelving
    ) -> None:
        shelving.failing = {"Dune"}
        event = left("Dune")
        await die(library, event)

        with capture_logs() as lines:
            await letters.discard(ALL, by="ann")

        [line] = [line for line in lines if line["event"] == "dead_letter_discarded"]
        assert (line["event_id"], line["cause"], line["by"]) == (event.event_id, "shelf_full", "ann")

    async def test_what_is_still_tried_is_left_alone(
        self, library: RunningService, letters: DeadLetters, shelving: Shelving
    ) -> None:
        shelving.failing = {"Dune"}
        await library.receives(left("Dune"))

        assert await letters.discard(ALL, by="ann") == 0
        assert [row.state for row in await parked(library)] == ["waiting"]

    async def test_more_than_a_batch(self, library: RunningService, letters: DeadLetters) -> None:
        for number in range(7):
            await library.inbox.deliver(Message(f"evt_{number}", "reader.left", "r1", b"not json"))

        assert await letters.discard(Choice(cause="NotAnEvent"), by="ann") == 7
        assert await letters.count(ALL) == 0
