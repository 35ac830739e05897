"""A service that publishes readers who leave, and consumes its own events."""

from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import select
from tests.examples.loans import service
from tests.examples.loans.events import BookLent
from tests.examples.loans.models import Book

from portico.kit.data import UnitOfWork
from portico.kit.data.kit_tables import event_log, failed_events, inbox, outbox
from portico.kit.foundation.problems import Conflict
from portico.kit.messaging.consumer import consumes
from portico.kit.messaging.event import Event
from portico.kit.messaging.relay import Relay
from portico.kit.messaging.runtime import retry_due
from portico.kit.runtime.service import Service
from portico.testing.brokers import ScriptedBroker
from portico.testing.running_service import RunningService


class ReaderLeft(Event, type="reader.left", version=1, aggregate="reader_id"):
    reader_id: str
    title: str


class ReaderCame(Event, type="reader.came", version=1, aggregate="reader_id"):
    reader_id: str


class ShelfFull(Conflict):
    code = "shelf_full"
    detail = "The shelf is full."


@dataclass
class Shelving:
    """Controls what the consumer does with a title, and records the titles it received."""

    failing: set[str] = field(default_factory=set)
    seen: list[str] = field(default_factory=list)

    async def handled(self, event: ReaderLeft) -> None:
        """Called at the end of the consumer."""

    def service(self) -> Service:
        @consumes(ReaderLeft, name="shelve-book-of-former-reader")
        async def shelve_book_of_former_reader(event: ReaderLeft, work: UnitOfWork) -> None:
            self.seen.append(event.title)
            if event.title in self.failing:
                raise ShelfFull
            work.add(Book(title=f"{event.title} {len(self.seen)}"))
            await self.handled(event)

        return replace(service, publishes=[BookLent, ReaderLeft, ReaderCame], consumers=[shelve_book_of_former_reader])


def left(title: str, reader: str = "r1") -> ReaderLeft:
    return ReaderLeft(reader_id=reader, title=title)


async def publish_events(loans: RunningService, *events: Event) -> None:
    """Publish events without consumers, so that they are in the log."""
    async with loans.context.transaction() as work:
        for event in events:
            work.publish(event)
    relay = Relay(loans.context, ScriptedBroker())
    await relay.drain()
    await relay._release_lease()


async def die(loans: RunningService, *events: Event) -> None:
    """Deliver events that fail until they are dead."""
    await loans.receives(*events)
    for _ in range(loans.context.settings.event_attempts * len(events)):
        loans.clock.advance(600)
        await retry_due(loans.inbox)


async def failed_rows(loans: RunningService) -> list[Any]:
    async with loans.context.reader() as reader:
        return list(await reader.rows(select(failed_events).order_by(failed_events.c.id)))


async def handled(loans: RunningService) -> set[str]:
    """Return the ids of the events in the inbox."""
    async with loans.context.reader() as reader:
        return {row.event_id for row in await reader.rows(select(inbox.c.event_id))}


async def waiting(loans: RunningService) -> list[str]:
    """Return the ids of the events in the outbox."""
    async with loans.context.reader() as reader:
        return [row.event_id for row in await reader.rows(select(outbox.c.event_id).order_by(outbox.c.id))]


async def logged(loans: RunningService) -> list[str]:
    async with loans.context.reader() as reader:
        return [row.event_id for row in await reader.rows(select(event_log.c.event_id).order_by(event_log.c.id))]
