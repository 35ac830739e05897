from collections.abc import Sequence
from dataclasses import replace

from structlog.testing import capture_logs
from tests.kit.messaging.leaving import ReaderCame, ReaderLeft, Shelving, left, parked

from portico.kit.data import UnitOfWork
from portico.kit.messaging.brokers.base import Message
from portico.kit.messaging.consumer import Consumer, consumes
from portico.kit.messaging.dead_letters import Choice, DeadLetters
from portico.kit.messaging.envelope import dumped
from portico.kit.messaging.inbox import Inbox
from portico.kit.messaging.runtime import retry_due
from portico.testing.running_service import RunningService


@consumes(ReaderCame, name="greet-new-reader")
async def greet_new_reader(event: ReaderCame, work: UnitOfWork) -> None: ...


@consumes(ReaderCame, name="shelve-book-of-former-reader")
async def shelve_book_of_former_reader(event: ReaderCame, work: UnitOfWork) -> None: ...


def with_consumers(library: RunningService, consumers: Sequence[Consumer]) -> Inbox:
    """The inbox of another version of the service, on the same database."""
    return Inbox(replace(library.context, service=replace(library.context.service, consumers=consumers)))


class TestConsumersOfAnotherVersion:
    async def test_what_is_parked_for_one_stays_until_a_version_that_has_it_tries_it(
        self, library: RunningService, shelving: Shelving
    ) -> None:
        shelving.failing = {"Dune"}
        await library.receives(left("Dune"))
        shelving.failing, shelving.seen = set(), []
        library.clock.advance(600)

        assert await retry_due(with_consumers(library, [greet_new_reader])) == 0
        assert await retry_due(library.inbox) == 1

        assert (shelving.seen, await parked(library)) == (["Dune"], [])

    async def test_and_so_does_what_a_consumer_handles_in_another_version_only(
        self, library: RunningService, shelving: Shelving
    ) -> None:
        shelving.failing = {"Dune"}
        await library.receives(left("Dune"))
        library.clock.advance(600)

        @consumes(ReaderLeft, name="note-former-reader")
        async def note_former_reader(event: ReaderLeft, work: UnitOfWork) -> None: ...

        await retry_due(with_consumers(library, [shelve_book_of_former_reader, note_former_reader]))

        assert [(row.state, row.attempts) for row in await parked(library)] == [("waiting", 1)]

    async def test_it_is_counted_and_told_of_once(self, library: RunningService, shelving: Shelving) -> None:
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


class TestWhatIsReadableAtLast:
    async def test_each_of_its_consumers_has_it_with_tries_of_its_own(
        self, library: RunningService, shelving: Shelving
    ) -> None:
        noted: list[str] = []

        @consumes(ReaderLeft, name="note-former-reader")
        async def note_former_reader(event: ReaderLeft, work: UnitOfWork) -> None:
            noted.append(event.title)

        upgraded = with_consumers(library, [note_former_reader, *library.context.service.consumers])
        await self._is_unreadable(library, left("Dune"))
        shelving.failing = {"Dune"}
        await self._replayed(library, upgraded)

        [row] = await parked(library)
        assert (row.consumer, row.state, row.attempts) == ("shelve-book-of-former-reader", "waiting", 1)
        shelving.failing, shelving.seen = set(), []
        library.clock.advance(600)
        await retry_due(upgraded)
        assert (noted, shelving.seen, await parked(library)) == (["Dune"], ["Dune"], [])

    async def test_it_is_behind_what_waits_for_them(self, library: RunningService, shelving: Shelving) -> None:
        await self._is_unreadable(library, left("Dune"))
        shelving.failing = {"Emma"}
        await library.receives(left("Emma"))
        shelving.failing, shelving.seen = set(), []
        library.clock.advance(600)

        await self._replayed(library, library.inbox)

        assert (shelving.seen, await parked(library)) == (["Emma", "Dune"], [])

    async def test_who_has_handled_it_meanwhile_is_not_given_it_again(
        self, library: RunningService, shelving: Shelving
    ) -> None:
        event = left("Dune")
        await self._is_unreadable(library, event)
        await library.receives(event)

        await self._replayed(library, library.inbox)

        assert (shelving.seen, await parked(library)) == (["Dune"], [])

    async def test_what_still_is_not_is_dead_again(self, library: RunningService) -> None:
        await self._is_unreadable(library, left("Dune"))

        await self._replayed(library, with_consumers(library, [greet_new_reader]))

        assert [(row.kind, row.state) for row in await parked(library)] == [("unreadable", "dead")]

    async def _is_unreadable(self, library: RunningService, event: ReaderLeft) -> None:
        """Have it delivered to a version of the service that does not know such events."""
        body = dumped(event, source="/catalog/another", time=library.clock.now(), trace=None)
        message = Message(event.event_id, event.event_type, event.aggregate_id, body.encode())
        await with_consumers(library, [greet_new_reader]).deliver(message)

    async def _replayed(self, library: RunningService, inbox: Inbox) -> None:
        letters = DeadLetters(library.context.name, library.context.database, library.clock)
        assert await letters.replay(Choice(), by="ann") == 1
        while await retry_due(inbox):
            pass
