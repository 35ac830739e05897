from collections.abc import Sequence
from dataclasses import replace

from structlog.testing import capture_logs
from tests.kit.messaging.leaving import ReaderCame, ReaderLeft, Shelving, failed_rows, left

from portico.kit.data import UnitOfWork
from portico.kit.messaging.brokers.base import Message
from portico.kit.messaging.consumer import Consumer, consumes
from portico.kit.messaging.dead_letters import DeadLetterFilter, DeadLetters
from portico.kit.messaging.envelope import serialize
from portico.kit.messaging.inbox import Inbox
from portico.kit.messaging.runtime import retry_due
from portico.testing.running_service import RunningService


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
        message = Message(event.event_id, event.event_type, event.aggregate_id, body.encode())
        await with_consumers(library, [greet_new_reader]).deliver(message)

    async def _replayed(self, library: RunningService, inbox: Inbox) -> None:
        dead_letters = DeadLetters(library.context.name, library.context.database, library.clock)
        assert await dead_letters.replay(DeadLetterFilter(), by="ann") == 1
        while await retry_due(inbox):
            pass
