import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from portico.kit.messaging.broadcast import Broadcasts
from portico.kit.messaging.brokers.base import Message
from portico.kit.messaging.envelope import serialize
from portico.kit.messaging.event import Event
from portico.testing.brokers import ScriptedBroker


class BookLost(Event, type="book.lost", version=1, aggregate="book_id"):
    book_id: str


class BookLostAtSea(Event, type="book.lost", version=2, aggregate="book_id"):
    book_id: str


class BookFound(Event, type="book.found", version=1, aggregate="book_id"):
    book_id: str


def message_of(event: Event) -> Message:
    body = serialize(event, source="/library/loans", time=datetime(2026, 11, 1, tzinfo=UTC), trace=None)
    return Message(event.message_id, event.event_type, event.aggregate_id, body.encode())


@pytest.fixture
def broadcasts() -> Broadcasts:
    return Broadcasts()


@pytest.fixture
async def broker(broadcasts: Broadcasts) -> AsyncIterator[ScriptedBroker]:
    """Run the broadcasts with a scripted broker."""
    broker = ScriptedBroker()
    running = asyncio.create_task(broadcasts.run(broker))
    yield broker
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


class TestBroadcasts:
    async def test_every_subscriber_receives_the_event_with_its_id(
        self, broadcasts: Broadcasts, broker: ScriptedBroker
    ) -> None:
        received: list[BookLost] = []
        broadcasts.subscribe(BookLost, received.append)
        broadcasts.subscribe(BookLost, received.append)
        await broker.until_listened_to(["book.lost"])

        lost = BookLost(book_id="book_1")
        await broker.publish([message_of(lost), message_of(BookFound(book_id="book_1"))])

        assert received == [lost, lost]
        assert {each.message_id for each in received} == {lost.message_id}

    async def test_does_not_subscribe_to_the_broker_without_subscribers(
        self, broadcasts: Broadcasts, broker: ScriptedBroker
    ) -> None:
        await asyncio.sleep(0)

        assert broker.listeners == []

        broadcasts.subscribe(BookLost, print)
        await broker.until_listened_to(["book.lost"])

    async def test_a_later_subscription_receives_events(self, broadcasts: Broadcasts, broker: ScriptedBroker) -> None:
        lost: list[BookLost] = []
        found: list[BookFound] = []
        broadcasts.subscribe(BookLost, lost.append)
        await broker.until_listened_to(["book.lost"])

        broadcasts.subscribe(BookFound, found.append)
        await broker.until_listened_to(["book.lost", "book.found"])
        await broker.publish([message_of(BookLost(book_id="book_1")), message_of(BookFound(book_id="book_1"))])

        assert (len(lost), len(found)) == (1, 1)

    async def test_ignores_another_version_of_an_event(self, broadcasts: Broadcasts, broker: ScriptedBroker) -> None:
        received: list[BookLost] = []
        broadcasts.subscribe(BookLost, received.append)
        await broker.until_listened_to(["book.lost"])

        await broker.publish([message_of(BookLostAtSea(book_id="book_1"))])

        assert received == []

    async def test_continues_after_an_unreadable_message(self, broadcasts: Broadcasts, broker: ScriptedBroker) -> None:
        received: list[BookLost] = []
        broadcasts.subscribe(BookLost, received.append)
        await broker.until_listened_to(["book.lost"])

        await broker.publish([Message("m1", "book.lost", "book_1", b"no JSON"), message_of(BookLost(book_id="book_2"))])

        assert [each.book_id for each in received] == ["book_2"]
