from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.kit.messaging.leaving import ReaderCame, ReaderLeft, Shelving, failed_rows, left

from portico.kit.data import UnitOfWork
from portico.kit.messaging.brokers.base import Message
from portico.kit.messaging.consumer import Consumer, consumes
from portico.kit.messaging.dead_letters import DeadLetterFilter, DeadLetters
from portico.kit.messaging.envelope import serialize
from portico.kit.messaging.inbox import Inbox
from portico.kit.messaging.runtime import retry_due
from portico.testing.databases import Databases
from portico.testing.running_service import RunningService, run_service


@consumes(ReaderCame, name="greet-new-reader")
async def greet_new_reader(event: ReaderCame, work: UnitOfWork) -> None: ...


@consumes(ReaderCame, name="shelve-book-of-former-reader")
async def shelve_book_of_former_reader(event: ReaderCame, work: UnitOfWork) -> None: ...


def with_consumers(library: RunningService, consumers: Sequence[Consumer]) -> Inbox:
    """Return the inbox of another version of the service, on the same database."""
    return Inbox(replace(library.context, service=replace(library.context.service, consumers=consumers)))


class TestConsumersOfAnotherVersion:
    async def test_a_failed_event_of_an_unknown_consumer_waits_for_a_version_that_has_it(
        self, library: RunningService, shelving: Shelving
    ) -> None:
        shelving.failing = {"Dune"}
        await library.receives(left("Dune"))
        shelving.failing, shelving.seen = set(), []
        library.clock.advance(600)

        assert await retry_due(with_consumers(library, [greet_new_reader])) == 0
        assert await retry_due(library.inbox) == 1

        assert (shelving.seen, await failed_rows(library)) == (["Dune"], [])

    async def test_a_failed_event_of_an_unhandled_type_waits_for_a_version_that_handles_it(
        self, library: RunningService, shelving: Shelving
    ) -> None:
        shelving.failing = {"Dune"}
        await library.receives(left("Dune"))
        library.clock.advance(600)

        @consumes(ReaderLeft, name="note-former-reader")
        async def note_former_reader(event: ReaderLeft, work: UnitOfWork) -> None: ...

        await retry_due(with_consumers(library, [shelve_book_of_former_reader, note_former_reader]))

        assert [(row.state, row.attempts) for row in await failed_rows(library)] == [("waiting", 1)]

    async def test_unroutable_events_are_counted_and_logged_once(
        self, library: RunningService, shelving: Shelving
    ) -> None:
        shelving.failing = {"Dune", "Emma"}
        await library.receives(left("Dune"), left("Emma", "r2"))
        parking = with_consumers(library, [greet_new_reader]).retry_queue

        with capture_logs() as lines:
            await parking.count()
            await parking.count()

        assert (parking.waiting, parking.unroutable) == (2, 2)
        [line] = lines
        assert (line["event"], line["consumer"], line["number"]) == (
            "unroutable_events",
            "shelve-book-of-former-reader",
            2,
        )
        await library.inbox.retry_queue.count()
        assert library.inbox.retry_queue.unroutable == 0


class TestClockSetBack:
    async def test_failed_events_are_due_at_once(self, library: RunningService, shelving: Shelving) -> None:
        shelving.failing = {"Dune"}
        await library.receives(left("Dune"))
        shelving.failing, shelving.seen = set(), []
        early = await retry_due(library.inbox)

        library.clock.set_back(3600)
        remaining = await library.inbox.retry_queue.seconds_until_due()
        retried = await retry_due(library.inbox)

        assert (early, remaining, retried, shelving.seen) == (0, 0.0, 1, ["Dune"])


class TestReplayOfUnreadableMessages:
    async def test_each_consumer_has_attempts_of_its_own(self, library: RunningService, shelving: Shelving) -> None:
        noted: list[str] = []

        @consumes(ReaderLeft, name="note-former-reader")
        async def note_former_reader(event: ReaderLeft, work: UnitOfWork) -> None:
            noted.append(event.title)

        upgraded = with_consumers(library, [note_former_reader, *library.context.service.consumers])
        await self._is_unreadable(library, left("Dune"))
        shelving.failing = {"Dune"}
        await self._replayed(library, upgraded)

        [row] = await failed_rows(library)
        assert (row.consumer, row.state, row.attempts) == ("shelve-book-of-former-reader", "waiting", 1)
        shelving.failing, shelving.seen = set(), []
        library.clock.advance(600)
        await retry_due(upgraded)
        assert (noted, shelving.seen, await failed_rows(library)) == (["Dune"], ["Dune"], [])

    async def test_the_message_waits_behind_earlier_events(self, library: RunningService, shelving: Shelving) -> None:
        await self._is_unreadable(library, left("Dune"))
        shelving.failing = {"Emma"}
        await library.receives(left("Emma"))
        shelving.failing, shelving.seen = set(), []
        library.clock.advance(600)

        await self._replayed(library, library.inbox)

        assert (shelving.seen, await failed_rows(library)) == (["Emma", "Dune"], [])

    async def test_a_consumer_that_has_handled_the_event_does_not_receive_it_again(
        self, library: RunningService, shelving: Shelving
    ) -> None:
        event = left("Dune")
        await self._is_unreadable(library, event)
        await library.receives(event)

        await self._replayed(library, library.inbox)

        assert (shelving.seen, await failed_rows(library)) == (["Dune"], [])

    async def test_a_message_that_is_still_unreadable_is_dead_again(self, library: RunningService) -> None:
        await self._is_unreadable(library, left("Dune"))

        await self._replayed(library, with_consumers(library, [greet_new_reader]))

        assert [(row.kind, row.state) for row in await failed_rows(library)] == [("unreadable", "dead")]

    async def _is_unreadable(self, library: RunningService, event: ReaderLeft) -> None:
        """Deliver the event to a version of the service that does not know it."""
        body = serialize(event, source="/catalog/another", time=library.clock.now(), trace=None)
        message = Message(event.message_id, event.event_type, event.aggregate_id, body.encode())
        await with_consumers(library, [greet_new_reader]).deliver(message)

    async def _replayed(self, library: RunningService, inbox: Inbox) -> None:
        dead_letters = DeadLetters(library.context.name, library.context.database, library.clock)
        assert await dead_letters.replay(DeadLetterFilter(), by="ann") == 1
        while await retry_due(inbox):
            pass


ATTEMPTS = 3


@pytest.fixture
async def patient_library(sqlite_databases: Databases, shelving: Shelving) -> AsyncIterator[RunningService]:
    """A library that tries to handle an event three times."""
    variables = {"EVENT_ATTEMPTS": str(ATTEMPTS)}
    async with run_service(shelving.service(), sqlite_databases, background=False, variables=variables) as running:
        yield running


class Careless:
    """A consumer with a bug.

    Args:
        errors: what it raises, attempt by attempt; the last one repeatedly.
    """

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)

    def inbox(self, library: RunningService) -> Inbox:
        @consumes(ReaderLeft, name="shelve-book-of-former-reader")
        async def shelve_book_of_former_reader(event: ReaderLeft, work: UnitOfWork) -> None:
            raise self.errors.pop(0) if len(self.errors) > 1 else self.errors[0]

        return with_consumers(library, [shelve_book_of_former_reader])


async def fail(library: RunningService, inbox: Inbox, *, retries: int) -> list[Any]:
    """Deliver an event, retry it, and return the log lines about its attempts."""
    event = left("Dune")
    body = serialize(event, source="/catalog/another", time=library.clock.now(), trace=None)
    with capture_logs() as lines:
        await inbox.deliver(Message(event.message_id, event.event_type, event.aggregate_id, body.encode()))
        for _ in range(retries):
            library.clock.advance(600)
            await retry_due(inbox)
    return [line for line in lines if line["event"] in {"event_retry_scheduled", "event_dead"}]


class TestAnErrorOfAConsumer:
    async def test_is_logged_with_its_traceback_once_and_then_with_its_message(
        self, patient_library: RunningService
    ) -> None:
        inbox = Careless(ValueError("no shelf 17")).inbox(patient_library)

        first, *others, dead = await fail(patient_library, inbox, retries=ATTEMPTS - 1)

        assert (first["log_level"], first["cause"], first["error"]) == ("error", "ValueError", "no shelf 17")
        assert first["exc_info"].__traceback__ is not None
        assert {(line["log_level"], line["error"], "exc_info" in line) for line in others} == {
            ("warning", "no shelf 17", False)
        }
        assert (dead["event"], dead["error"], "exc_info" in dead) == ("event_dead", "no shelf 17", False)

    async def test_of_another_type_is_logged_with_its_traceback_again(self, patient_library: RunningService) -> None:
        inbox = Careless(ValueError("no shelf 17"), KeyError("shelf")).inbox(patient_library)

        lines = await fail(patient_library, inbox, retries=ATTEMPTS - 1)

        assert [(line["cause"], "exc_info" in line) for line in lines] == [
            ("ValueError", True),
            ("KeyError", True),
            ("KeyError", False),
        ]

    async def test_that_is_a_problem_is_logged_without_a_traceback(
        self, patient_library: RunningService, shelving: Shelving
    ) -> None:
        shelving.failing = {"Dune"}

        [line] = await fail(patient_library, patient_library.inbox, retries=0)

        assert (line["log_level"], line["error"], "exc_info" in line) == ("warning", "The shelf is full.", False)
